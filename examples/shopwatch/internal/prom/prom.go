// Package prom writes metrics in the text format of Prometheus, with the help
// and type lines that github.com/VictoriaMetrics/metrics leaves out.
//
// https://prometheus.io/docs/instrumenting/exposition_formats/
package prom

import (
	"fmt"
	"io"
	"strconv"
	"strings"
)

// Writer writes families of samples. Errors of the underlying writer are
// dropped: a reader who left needs no metrics.
type Writer struct{ w io.Writer }

// NewWriter returns a Writer to w.
func NewWriter(w io.Writer) *Writer { return &Writer{w} }

// Sample is one value of a family.
type Sample struct {
	// Labels are names and values in turn.
	Labels []string
	Value  float64
}

// Head writes the lines that come before a family's samples. kind is counter,
// gauge or histogram.
func (w *Writer) Head(kind, name, help string) {
	_, _ = fmt.Fprintf(w.w, "# HELP %s %s\n# TYPE %s %s\n", name, helpEscaper.Replace(help), name, kind)
}

// Counter writes a counter without labels.
func (w *Writer) Counter(name, help string, v float64) {
	w.Counters(name, help, []Sample{{Value: v}})
}

// Counters writes a counter; without samples, nothing.
func (w *Writer) Counters(name, help string, samples []Sample) {
	w.family("counter", name, help, samples)
}

// Gauge writes a gauge without labels.
func (w *Writer) Gauge(name, help string, v float64) { w.Gauges(name, help, []Sample{{Value: v}}) }

// Gauges writes a gauge; without samples, nothing.
func (w *Writer) Gauges(name, help string, samples []Sample) {
	w.family("gauge", name, help, samples)
}

func (w *Writer) family(kind, name, help string, samples []Sample) {
	if len(samples) == 0 {
		return
	}
	w.Head(kind, name, help)
	for _, s := range samples {
		_, _ = fmt.Fprintf(w.w, "%s%s %s\n", name, Labels(s.Labels...), strconv.FormatFloat(s.Value, 'g', -1, 64))
	}
}

// Labels writes names and values, given in turn, as they follow a metric's
// name. It panics where a value is missing.
func Labels(pairs ...string) string {
	if len(pairs) == 0 {
		return ""
	}
	var b strings.Builder
	for i := 0; i < len(pairs); i += 2 {
		b.WriteString(map[bool]string{true: "{", false: ","}[i == 0])
		b.WriteString(pairs[i] + `="` + labelEscaper.Replace(pairs[i+1]) + `"`)
	}
	return b.String() + "}"
}

var (
	helpEscaper  = strings.NewReplacer(`\`, `\\`, "\n", `\n`)
	labelEscaper = strings.NewReplacer(`\`, `\\`, "\n", `\n`, `"`, `\"`)
)

// Flag is 1 for true and 0 for false.
func Flag(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
