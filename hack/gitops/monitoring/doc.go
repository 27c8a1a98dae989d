// Package monitoring checks config/prometheus with Prometheus' own libraries: that dashboard and alerts ask only
// for metrics and labels that are exposed, and that each alert fires when it should and not when it should not.
package monitoring
