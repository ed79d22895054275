// Package status gathers what the blocks report, for the status page and for
// /metrics. It only reads.
package status
