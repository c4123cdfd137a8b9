"""`kubectl notifications`, for people who look after pipelines: what is wrong, what flows, what failed, and what to do.

kubectl does the talking, as a child process: it knows the user's contexts, plugins for credentials and proxies, and
everybody has it. So nothing here needs a library for Kubernetes, and a command starts in a fraction of a second.
"""
