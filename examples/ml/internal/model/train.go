package model

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand"

	mlcontext "github.com/gomlx/gomlx/pkg/ml/context"

	"github.com/gomlx/gomlx/pkg/core/graph"
	"github.com/gomlx/gomlx/pkg/core/tensors"
	"github.com/gomlx/gomlx/pkg/ml/datasets"
	"github.com/gomlx/gomlx/pkg/ml/train"
	"github.com/gomlx/gomlx/pkg/ml/train/losses"
	"github.com/gomlx/gomlx/pkg/ml/train/optimizers"

	"github.com/svcblocks/svcblocks/examples/ml/internal/dataset"
)

// Options say how a model is trained. The zero Options are the defaults.
type Options struct {
	// Hidden are the widths of the hidden layers. Defaults to 32 and 32; an
	// empty list that is not nil: none, which leaves a linear model.
	Hidden []int
	// Steps is how many batches are learned from. Defaults to 1500.
	Steps int
	// BatchRows is how many rows a batch has. Defaults to 128, or all rows if
	// there are fewer.
	BatchRows int
	// LearningRate is Adam's. Defaults to 0.005.
	LearningRate float64
	// Seed makes the first weights and the order of rows.
	Seed int64
	// Logger is told ten times how far it is. Nil discards.
	Logger *slog.Logger
}

func (o Options) withDefaults(rows int) (Options, error) {
	if o.Hidden == nil {
		o.Hidden = []int{32, 32}
	}
	if o.Steps == 0 {
		o.Steps = 1500
	}
	if o.BatchRows == 0 {
		o.BatchRows = 128
	}
	if o.LearningRate == 0 {
		o.LearningRate = 0.005
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}

	var errs []error
	if o.Steps < 1 {
		errs = append(errs, fmt.Errorf("steps %d: at least 1", o.Steps))
	}
	if o.BatchRows < 1 {
		errs = append(errs, fmt.Errorf("batch of %d rows: at least 1", o.BatchRows))
	}
	if !(o.LearningRate > 0 && o.LearningRate <= 1) {
		errs = append(errs, fmt.Errorf("learning rate %g: above 0, at most 1", o.LearningRate))
	}
	if rows == 0 {
		errs = append(errs, errors.New("no rows to learn from"))
	}

	o.BatchRows = min(o.BatchRows, max(rows, 1))
	return o, errors.Join(errs...)
}

// Train learns from data.Train; data.Test is not looked at. It stops early
// when ctx ends, with its error.
func Train(ctx context.Context, data *dataset.Data, opts Options) (*Model, error) {
	opts, err := opts.withDefaults(data.Train.Len())
	spec := Spec{Features: data.Features, Classes: data.Classes, Fingerprint: data.Fingerprint, Hidden: opts.Hidden}
	if err := errors.Join(err, spec.check()); err != nil {
		return nil, fmt.Errorf("model: train: %w", err)
	}

	backend, err := newBackend()
	if err != nil {
		return nil, err
	}

	labels := make([][]int32, data.Train.Len())
	for i, y := range data.Train.Y {
		labels[i] = []int32{y}
	}

	batches, err := datasets.InMemoryFromData(backend, "train", []any{data.Train.X}, []any{labels})
	if err != nil {
		return nil, fmt.Errorf("model: train: %w", err)
	}
	defer batches.FinalizeAll()
	batches = batches.WithRand(rand.New(rand.NewSource(opts.Seed))).Infinite(true).Shuffle().BatchSize(opts.BatchRows, true)

	vars := mlcontext.New()
	vars.SetRNGStateFromSeed(opts.Seed)
	vars.SetParam(mlcontext.ParamInitialSeed, opts.Seed)
	vars.SetParam(optimizers.ParamLearningRate, opts.LearningRate)
	network := func(ctx *mlcontext.Context, _ any, in []*graph.Node) []*graph.Node {
		return []*graph.Node{spec.logits(ctx, in[0])}
	}

	trainer := train.NewTrainer(backend, vars, network, losses.SparseCategoricalCrossEntropyLogits, optimizers.Adam().Done(), nil, nil)
	loop := train.NewLoop(trainer)
	loop.OnStep("stop", 0, func(*train.Loop, []*tensors.Tensor) error { return context.Cause(ctx) })
	train.NTimesDuringLoop(loop, 10, "tell", 0, func(l *train.Loop, metrics []*tensors.Tensor) error {
		opts.Logger.InfoContext(ctx, "training", "step", l.LoopStep+1, "of", opts.Steps, "loss", metrics[0].Value())
		return nil
	})

	if _, err := loop.RunSteps(batches, opts.Steps); err != nil {
		if cause := context.Cause(ctx); cause != nil {
			err = cause // gomlx's text is a stack
		}
		return nil, fmt.Errorf("model: train: %w", err)
	}

	return newModel(backend, spec, vars)
}
