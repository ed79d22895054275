package model_test

import (
	"context"
	"errors"
	"math"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/svcblocks/svcblocks/examples/ml/internal/dataset"
	"github.com/svcblocks/svcblocks/examples/ml/internal/model"
	"github.com/svcblocks/svcblocks/internal/testenv"
)

// small is enough for what is not about accuracy.
var small = model.Options{Hidden: []int{4}, Steps: 20, BatchRows: 16, Seed: 1}

func train(t testing.TB, opts model.Options) (*model.Model, *dataset.Data) {
	t.Helper()
	data := dataset.Generate(300, 1)
	m, err := model.Train(context.Background(), data, opts)
	if err != nil {
		t.Fatal(err)
	}
	return m, data
}

// TestAccuracy holds the model to at least 0.95 on rows that it has not seen,
// for five seeds under `make soak`, for one with less work otherwise.
func TestAccuracy(t *testing.T) {
	t.Parallel()
	seeds, opts := 5, model.Options{}
	if !testenv.Soak() {
		// What the race detector gets through in seconds.
		seeds, opts = 1, model.Options{Steps: 400, BatchRows: 32, LearningRate: 0.01}
	}
	for seed := range seeds {
		data := dataset.Generate(4000, uint64(seed))
		opts.Seed = int64(seed)
		started := time.Now()
		m, err := model.Train(context.Background(), data, opts)
		if err != nil {
			t.Fatal(err)
		}
		took := time.Since(started)
		got, err := m.Accuracy(data.Test)
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("seed %d: accuracy %.4f, trained in %v", seed, got, took)
		if got < 0.95 {
			t.Errorf("seed %d: held-out accuracy %.4f, want at least 0.95", seed, got)
		}
	}
}

// A linear model does not reach what the network does: the hidden layers are
// there for a reason.
func TestDataIsNotLinear(t *testing.T) {
	t.Parallel()
	data := dataset.Generate(4000, 0)
	m, err := model.Train(context.Background(), data, model.Options{Hidden: []int{}, Steps: 300, BatchRows: 32, LearningRate: 0.02})
	if err != nil {
		t.Fatal(err)
	}
	got, err := m.Accuracy(data.Test)
	if err != nil {
		t.Fatal(err)
	}
	if got < 0.6 || got >= 0.95 {
		t.Errorf("a linear model has accuracy %.3f, want 0.60 to 0.95", got)
	}
}

func TestSaveAndOpen(t *testing.T) {
	t.Parallel()
	m, data := train(t, small)
	base := filepath.Join(t.TempDir(), "models", "lots")
	for want := 1; want <= 2; want++ {
		got, err := m.Save(base)
		if err != nil || got != want {
			t.Fatalf("Save: version %d, %v; want %d", got, err, want)
		}
	}
	versions, err := model.Versions(base)
	if diff := cmp.Diff([]int{1, 2}, versions); diff != "" || err != nil {
		t.Fatalf("Versions: %v (-want +got):\n%s", err, diff)
	}
	entries, err := os.ReadDir(base)
	if err != nil || len(entries) != 2 {
		t.Fatalf("%d entries in %s, want the 2 versions: %v", len(entries), base, err)
	}
	opened, err := model.Open(filepath.Join(base, "2"))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(m.Spec(), opened.Spec()); diff != "" {
		t.Errorf("spec (-saved +opened):\n%s", diff)
	}
	want, err := m.Predict(data.Test.X)
	if err != nil {
		t.Fatal(err)
	}
	got, err := opened.Predict(data.Test.X)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the opened model answers differently (-saved +opened):\n%s", diff)
	}
}

func TestVersionsIgnoresOthers(t *testing.T) {
	t.Parallel()
	base := t.TempDir()
	for _, name := range []string{"3", "10", "007", "-1", "0", "x", ".saving-1"} {
		if err := os.Mkdir(filepath.Join(base, name), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(base, "4"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := model.Versions(base)
	if diff := cmp.Diff([]int{3, 10}, got); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	if got, err := model.Versions(filepath.Join(base, "none")); len(got) != 0 || err != nil {
		t.Errorf("a folder that is not there: %v, %v", got, err)
	}
}

// Open says which file is at fault, and never panics.
func TestOpenDamaged(t *testing.T) {
	t.Parallel()
	m, _ := train(t, small)
	base := t.TempDir()
	if _, err := m.Save(base); err != nil {
		t.Fatal(err)
	}
	good := filepath.Join(base, "1")
	spec, err := os.ReadFile(filepath.Join(good, "model.json"))
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name   string
		damage func(t *testing.T, dir string)
	}{
		{"no spec", func(t *testing.T, dir string) { remove(t, dir, "model.json") }},
		{"spec cut", func(t *testing.T, dir string) { write(t, dir, "model.json", string(spec[:20])) }},
		{"spec without classes", func(t *testing.T, dir string) { write(t, dir, "model.json", `{"features":["a"]}`) }},
		{"spec of another network", func(t *testing.T, dir string) {
			write(t, dir, "model.json", strings.Replace(string(spec), `"moisture",`, "", 1))
		}},
		{"no checkpoint", func(t *testing.T, dir string) { remove(t, dir, "checkpoint*") }},
		{"weights gone", func(t *testing.T, dir string) { remove(t, dir, "*.bin") }},
		{"weights cut", func(t *testing.T, dir string) {
			bin := glob(t, dir, "*.bin")
			text, err := os.ReadFile(bin)
			if err != nil {
				t.Fatal(err)
			}
			write(t, dir, filepath.Base(bin), string(text[:len(text)/2]))
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			dir := filepath.Join(t.TempDir(), "1")
			if err := os.CopyFS(dir, os.DirFS(good)); err != nil {
				t.Fatal(err)
			}
			tt.damage(t, dir)
			if _, err := model.Open(dir); !errors.Is(err, model.ErrNoModel) || !strings.Contains(err.Error(), dir) {
				t.Errorf("error %v, want ErrNoModel with the path", err)
			}
		})
	}
}

func glob(t *testing.T, dir, pattern string) string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, pattern))
	if err != nil || len(names) == 0 {
		t.Fatalf("%s: %v, %v", pattern, names, err)
	}
	return names[0]
}

func remove(t *testing.T, dir, pattern string) {
	t.Helper()
	for range 2 {
		names, err := filepath.Glob(filepath.Join(dir, pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			if err := os.Remove(name); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func write(t *testing.T, dir, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// Rows go through the network in batches of some sizes: no row may depend on
// its neighbours, and none may be lost.
func TestPredictInAnyNumber(t *testing.T) {
	t.Parallel()
	m, data := train(t, small)
	all, err := m.Predict(data.Train.X)
	if err != nil {
		t.Fatal(err)
	}
	close := cmpopts.EquateApprox(0, 1e-5)
	for _, n := range []int{0, 1, 2, 5, 17, 64, 65, 240} {
		got, err := m.Predict(data.Train.X[:n])
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(all[:n], got, close, cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("%d rows (-together +alone):\n%s", n, diff)
		}
	}
	many := make([][]float32, 600)
	for i := range many {
		many[i] = data.Train.X[i%data.Train.Len()]
	}
	got, err := m.Predict(many)
	if err != nil || len(got) != len(many) {
		t.Fatalf("%d answers for %d rows: %v", len(got), len(many), err)
	}
	for i, p := range got {
		if sum := float64(p[0] + p[1]); math.Abs(sum-1) > 1e-5 {
			t.Fatalf("row %d: probabilities %v", i, p)
		}
	}
}

func TestPredictErrors(t *testing.T) {
	t.Parallel()
	m, data := train(t, small)
	for _, n := range []int{0, len(data.Features) - 1, len(data.Features) + 1} {
		_, err := m.Predict([][]float32{data.Test.X[0], make([]float32, n)})
		if !errors.Is(err, model.ErrShape) || !strings.Contains(err.Error(), "row 1") {
			t.Errorf("%d values: %v, want ErrShape for row 1", n, err)
		}
	}
	huge := make([]float32, len(data.Features))
	for i := range huge {
		huge[i] = math.MaxFloat32
	}
	if _, err := m.Predict([][]float32{data.Test.X[0], huge}); !errors.Is(err, model.ErrNotFinite) {
		t.Errorf("huge values: %v, want ErrNotFinite", err)
	}
}

func TestPredictConcurrently(t *testing.T) {
	t.Parallel()
	m, data := train(t, small)
	want, err := m.Predict(data.Test.X)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for i := range data.Test.X[:20] {
				got, err := m.Predict(data.Test.X[i : i+1])
				if err != nil {
					t.Error(err)
					return
				}
				if diff := cmp.Diff(want[i:i+1], got, cmpopts.EquateApprox(0, 1e-5)); diff != "" {
					t.Errorf("row %d (-want +got):\n%s", i, diff)
				}
			}
		})
	}
	wg.Wait()
}

func TestTrainErrors(t *testing.T) {
	t.Parallel()
	data := dataset.Generate(100, 1)
	ctx := context.Background()
	_, err := model.Train(ctx, data, model.Options{Steps: -1, BatchRows: -2, LearningRate: 7, Hidden: []int{0}})
	for _, want := range []string{"steps -1", "batch of -2", "learning rate 7", "hidden layers [0]"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want one with %q", err, want)
		}
	}
	if _, err := model.Train(ctx, &dataset.Data{Features: data.Features, Classes: data.Classes}, small); err == nil {
		t.Error("trained on no rows")
	}
	stopped, cancel := context.WithCancelCause(ctx)
	reason := errors.New("enough")
	cancel(reason)
	if _, err := model.Train(stopped, data, small); !errors.Is(err, reason) {
		t.Errorf("error %v, want the cause", err)
	}
}

func BenchmarkTrain(b *testing.B) {
	worst, slowest := 1.0, time.Duration(0)
	for b.Loop() {
		for seed := range 5 {
			data := dataset.Generate(4000, uint64(seed))
			started := time.Now()
			m, err := model.Train(context.Background(), data, model.Options{Seed: int64(seed)})
			if err != nil {
				b.Fatal(err)
			}
			slowest = max(slowest, time.Since(started))
			accuracy, err := m.Accuracy(data.Test)
			if err != nil {
				b.Fatal(err)
			}
			worst = min(worst, accuracy)
		}
	}
	b.ReportMetric(worst, "worst-accuracy")
	b.ReportMetric(slowest.Seconds(), "slowest-s")
}
