{{- /* There is one operator in a namespace, and trainers' network policies know it by this name. */ -}}
{{- define "name" -}}alignment-operator{{- end }}

{{- /* labels of every object: Helm's own, and commonLabels */ -}}
{{- define "labels" -}}
{{- $own := dict
  "app.kubernetes.io/name" (include "name" .)
  "app.kubernetes.io/instance" .Release.Name
  "app.kubernetes.io/version" .Chart.AppVersion
  "app.kubernetes.io/managed-by" .Release.Service
  "helm.sh/chart" (printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_") -}}
{{ merge $own .Values.commonLabels | toYaml }}
{{- end }}

{{- define "serviceAccount" -}}{{ .Values.serviceAccount.name | default (include "name" .) }}{{- end }}

{{- /* image of (list . .Values.image) */ -}}
{{- define "image" -}}
{{- $root := index . 0 }}{{ $image := index . 1 -}}
{{- if $image.digest -}}
{{ $image.repository }}@{{ $image.digest }}
{{- else -}}
{{ $image.repository }}:{{ $image.tag | default $root.Chart.AppVersion }}
{{- end -}}
{{- end }}

{{- /* subjects: the operator's service account */ -}}
{{- define "subjects" -}}
- kind: ServiceAccount
  name: {{ include "serviceAccount" . }}
  namespace: {{ .Release.Namespace }}
{{- end }}
