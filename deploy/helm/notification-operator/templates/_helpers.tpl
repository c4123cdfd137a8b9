{{- define "notification-operator.name" -}}
{{- default .Chart.Name .Values.nameOverride -}}
{{- end }}

{{/* The name of all objects: 53 characters, as a release's name may have, so that nothing made of it gets too long. */}}
{{- define "notification-operator.fullname" -}}
{{- $name := include "notification-operator.name" . -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride -}}
{{- else if contains $name .Release.Name -}}
{{- .Release.Name -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 53 | trimSuffix "-" -}}
{{- end -}}
{{- end }}

{{- define "notification-operator.account" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "notification-operator.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- required "serviceAccount.name is required where serviceAccount.create is false: name the account that is there." .Values.serviceAccount.name -}}
{{- end -}}
{{- end }}

{{/* Labels that select the pods, and never change: a Deployment's selector is immutable. */}}
{{- define "notification-operator.selector" -}}
app.kubernetes.io/name: {{ include "notification-operator.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "notification-operator.labels" -}}
{{- with .Values.commonLabels }}
{{- toYaml . }}
{{ end -}}
{{ include "notification-operator.selector" . }}
app.kubernetes.io/component: operator
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}

{{/* Metadata of an object of the operator's namespace. */}}
{{- define "notification-operator.metadata" -}}
name: {{ include "notification-operator.fullname" . }}
namespace: {{ .Release.Namespace }}
labels:
  {{- include "notification-operator.labels" . | nindent 2 }}
{{- end }}

{{/* An image, by its digest where there is one: (dict "image" .Values.image "chart" .Chart). */}}
{{- define "notification-operator.image" -}}
{{- if .image.digest -}}
{{- printf "%s@%s" .image.repository .image.digest -}}
{{- else -}}
{{- printf "%s:%s" .image.repository (default .chart.AppVersion .image.tag) -}}
{{- end -}}
{{- end }}

{{/* Which of the cluster's objects are this release's: two releases may have one name in two namespaces. */}}
{{- define "notification-operator.clusterName" -}}
{{- $name := include "notification-operator.fullname" . -}}
{{- if eq .Release.Namespace $name -}}{{ $name }}{{- else -}}{{ printf "%s-%s" .Release.Namespace $name }}{{- end -}}
{{- end }}
