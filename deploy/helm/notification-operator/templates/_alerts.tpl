{{/*
Alerts on the operator itself. A name without NotificationOperator, such as not_leading, is that of its runbook. What a
dead operator can't count is asked of `up`; what only the one that works counts is summed over all of them.
*/}}
{{- define "notification-operator.alerts" -}}
{{- $own := printf "namespace=%q,job=%q" .Release.Namespace (include "notification-operator.fullname" .) }}
{{- /* Without a scrape by this release it would fire for as long as the release is there. */}}
{{- if .Values.monitoring.serviceMonitor.enabled }}
- alert: NotificationOperatorDown
  expr: absent(up{ {{- $own -}} } == 1)
  for: 5m
  labels: {severity: critical, namespace: {{ .Release.Namespace }}}
  annotations:
    summary: No notification operator answers.
    description: >-
      Prometheus has reached no operator for 5 minutes. Dispatchers go on delivering as they are; changes of pipelines
      and of their Secrets wait.
{{- end }}
- alert: NotificationOperatorNotLeading
  expr: sum by (namespace) (notification_operator_leader{ {{- $own -}} }) == 0
  for: 2m
  labels: {severity: critical}
  annotations:
    summary: No notification operator works.
    description: >-
      Operators run, and for 2 minutes none of them has held the Lease. Dispatchers go on delivering as they are;
      changes of pipelines and of their Secrets wait.
- alert: NotificationOperatorReconcileErrors
  expr: sum by (namespace) (increase(notification_operator_reconciles_total{ {{- $own -}} ,result="error"}[15m])) > 0
  labels: {severity: warning}
  annotations:
    summary: The notification operator fails with an error of its own.
    description: >-
      {{ `{{ printf "%.0f" $value }}` }} reconciliations of the last 15 minutes ended with an error that the operator does not
      know. Its log has it, with the pipeline.
- alert: NotificationOperatorRetrying
  expr: >-
    sum by (namespace) (rate(notification_operator_reconciles_total{ {{- $own -}} ,result="retry"}[15m]))
    / sum by (namespace) (rate(notification_operator_reconciles_total{ {{- $own -}} }[15m])) > 0.5
  for: 15m
  labels: {severity: warning}
  annotations:
    summary: The notification operator gets nothing done.
    description: >-
      {{ `{{ $value | humanizePercentage }}` }} of the reconciliations of the last 15 minutes were given up and are tried again.
- alert: NotificationOperatorQueueStuck
  expr: max by (namespace) (notification_operator_queue_oldest_age_seconds{ {{- $own -}} }) > 60
  for: 5m
  labels: {severity: warning}
  annotations:
    summary: Pipelines wait long for the notification operator.
    description: >-
      The pipeline that waits longest has waited {{ `{{ $value | humanizeDuration }}` }} to be looked at.
- alert: NotificationOperatorWatchDeaths
  expr: sum by (namespace, kind) (increase(notification_operator_watch_restarts_total{ {{- $own -}} }[15m])) > 10
  for: 15m
  labels: {severity: warning}
  annotations:
    summary: A watch of the notification operator fails again and again.
    description: >-
      The watch of {{ `{{ $labels.kind }}` }} was started again {{ `{{ printf "%.0f" $value }}` }} times within 15 minutes. Changes
      of such objects are seen late.
- alert: NotificationOperatorWatchMissed
  expr: sum by (namespace) (increase(notification_operator_watch_missed_total{ {{- $own -}} }[1h])) > 0
  labels: {severity: warning}
  annotations:
    summary: The notification operator did not see a change in time.
    description: >-
      The slow resync found {{ `{{ printf "%.0f" $value }}` }} pipelines changed within the last hour of which the watch had not
      told. They are brought up to date; the next change may wait as long.
- alert: NotificationOperatorForbidden
  expr: sum by (namespace, verb) (increase(notification_operator_api_requests_total{ {{- $own -}} ,code="403"}[15m])) > 0
  for: 15m
  labels: {severity: warning}
  annotations:
    summary: The API server forbids the notification operator something.
    description: >-
      {{ `{{ $labels.verb }}` }} was answered with 403 {{ `{{ printf "%.0f" $value }}` }} times within 15 minutes: a right, a quota or an
      admission policy is in the way.
{{- end }}
