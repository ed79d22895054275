package model

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"

	"github.com/gomlx/gomlx/backends"
	"github.com/gomlx/gomlx/pkg/core/graph"
	"github.com/gomlx/gomlx/pkg/ml/context"

	"github.com/svcblocks/svcblocks/examples/ml/internal/dataset"
)

var (
	// ErrShape says that a row has another number of values than the model has
	// features.
	ErrShape = errors.New("wrong number of features")
	// ErrNotFinite says that a row led to a result that is no number, as its
	// values are far from all that the model has learned.
	ErrNotFinite = errors.New("the prediction is not a finite number")
)

// Spec says what goes into a model and what comes out.
type Spec struct {
	// Features are the names of the values in a row, in order.
	Features []string `json:"features"`
	// Classes are the names of the probabilities in an answer, in order.
	Classes []string `json:"classes"`
	// Fingerprint is that of the features.json it was trained on, if there was one.
	Fingerprint string `json:"fingerprint,omitempty"`
	// Hidden are the widths of the hidden layers.
	Hidden []int `json:"hidden"`
}

func (s Spec) check() error {
	if len(s.Features) == 0 || len(s.Classes) < 2 || slices.ContainsFunc(s.Hidden, func(w int) bool { return w < 1 || w > 1<<14 }) {
		return fmt.Errorf("%d features, %d classes, hidden layers %v: want 1, 2, and widths from 1 to %d", len(s.Features), len(s.Classes), s.Hidden, 1<<14)
	}
	return nil
}

// Model is a trained network. Make one with [Train] or [Open]. Safe for
// concurrent use.
type Model struct {
	spec   Spec
	vars   *context.Context // the weights
	exec   *context.Exec    // rows to probabilities
	saving sync.Mutex       // gomlx writes into vars while it saves
}

// batches are the numbers of rows that the network is compiled for: rows are
// filled up to the next. gomlx compiles a network for each number, and refuses
// to at some point; with these, clients cannot make it compile anything.
var batches = []int{1, 4, 16, 64, 256}

// newModel compiles the network that has the weights of vars.
func newModel(b backends.Backend, spec Spec, vars *context.Context) (*Model, error) {
	exec, err := context.NewExec(b, vars.Reuse(), func(ctx *context.Context, x *graph.Node) *graph.Node {
		return graph.Softmax(spec.logits(ctx, x))
	})
	if err != nil {
		return nil, fmt.Errorf("model: compile: %w", err)
	}
	m := &Model{spec: spec, vars: vars, exec: exec}
	for _, n := range batches {
		if _, err := m.run(make([][]float32, 0, n), n); err != nil {
			return nil, fmt.Errorf("model: the weights do not fit %d features, %d classes and hidden layers %v: %w", len(spec.Features), len(spec.Classes), spec.Hidden, err)
		}
	}
	return m, nil
}

// Spec returns the names of what goes in and comes out. The caller must not
// change them.
func (m *Model) Spec() Spec { return m.spec }

// Predict returns the probability of each class for each row. Errors match
// [ErrShape] or [ErrNotFinite] and name the row, counted from 0.
func (m *Model) Predict(rows [][]float32) ([][]float32, error) {
	for i, row := range rows {
		if len(row) != len(m.spec.Features) {
			return nil, fmt.Errorf("model: predict: row %d: %w: %d, want %d", i, ErrShape, len(row), len(m.spec.Features))
		}
	}

	out := make([][]float32, 0, len(rows))
	for chunk := range slices.Chunk(rows, batches[len(batches)-1]) {
		n := batches[slices.IndexFunc(batches, func(n int) bool { return n >= len(chunk) })]
		p, err := m.run(chunk, n)
		if err != nil {
			return nil, fmt.Errorf("model: predict: %w", err)
		}
		for i := range p {
			if slices.ContainsFunc(p[i], func(v float32) bool { return math.IsNaN(float64(v)) }) {
				return nil, fmt.Errorf("model: predict: row %d: %w: its values are out of all range", len(out)+i, ErrNotFinite)
			}
		}
		out = append(out, p...)
	}
	return out, nil
}

// run asks the network about up to n rows, filled up to n with zeros.
func (m *Model) run(rows [][]float32, n int) ([][]float32, error) {
	x := make([][]float32, n)
	zeros := make([]float32, len(m.spec.Features))
	for i := range x {
		if x[i] = zeros; i < len(rows) {
			x[i] = rows[i]
		}
	}

	t, err := m.exec.Exec1(x)
	if err != nil {
		return nil, err
	}
	defer t.FinalizeAll()

	p, ok := t.Value().([][]float32)
	if !ok || len(p) != n {
		return nil, fmt.Errorf("the network gave %s", t.Shape())
	}
	return p[:len(rows)], nil
}

// Accuracy returns the share of rows whose likeliest class is theirs.
func (m *Model) Accuracy(t dataset.Table) (float64, error) {
	p, err := m.Predict(t.X)
	if err != nil {
		return 0, err
	}
	right := 0
	for i := range p {
		if Best(p[i]) == int(t.Y[i]) {
			right++
		}
	}
	return float64(right) / float64(t.Len()), nil
}

// LogLoss returns the mean of the negative logarithms of what the model gives to
// the right classes: 0 is certain and right, and who is certain and wrong pays
// most. A probability below 1e-7 counts as that.
func (m *Model) LogLoss(t dataset.Table) (float64, error) {
	p, err := m.Predict(t.X)
	if err != nil {
		return 0, err
	}
	sum := 0.0
	for i := range p {
		sum -= math.Log(max(1e-7, float64(p[i][t.Y[i]])))
	}
	return sum / float64(max(1, t.Len())), nil
}

// Best returns the index of the greatest probability.
func Best(p []float32) int {
	best := 0
	for i, v := range p {
		if v > p[best] {
			best = i
		}
	}
	return best
}
