package model

import (
	"fmt"

	"github.com/gomlx/gomlx/backends"
	"github.com/gomlx/gomlx/backends/simplego"
	"github.com/gomlx/gomlx/pkg/core/graph"
	"github.com/gomlx/gomlx/pkg/ml/context"
	"github.com/gomlx/gomlx/pkg/ml/layers"
	"github.com/gomlx/gomlx/pkg/ml/layers/activations"
)

// newBackend returns gomlx's backend in pure Go. Its operations run one after
// the other: run in parallel, they write into buffers that others still read
// (v0.26.0, found by the race detector), and for a network this small nothing
// is gained by it. Requests are still served in parallel.
func newBackend() (backends.Backend, error) {
	b, err := simplego.New("ops_sequential")
	if err != nil {
		return nil, fmt.Errorf("model: backend: %w", err)
	}
	return b, nil
}

// logits builds the network: x is [rows, features], the result [rows, classes].
func (s Spec) logits(ctx *context.Context, x *graph.Node) *graph.Node {
	for i, width := range s.Hidden {
		x = activations.Relu(layers.Dense(ctx.In(fmt.Sprintf("hidden_%d", i)), x, true, width))
	}
	return layers.Dense(ctx.In("classes"), x, true, len(s.Classes))
}
