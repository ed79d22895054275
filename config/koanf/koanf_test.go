package koanf_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/knadh/koanf/v2"

	"github.com/svcblocks/svcblocks/config"
	bridge "github.com/svcblocks/svcblocks/config/koanf"
)

type settings struct {
	A, B   int
	Wait   time.Duration `default:"5s"`
	Pw     config.Secret
	URL    config.URL
	Tags   []string
	Limits map[string]float64
	Items  []struct{ Name string }
	Size   config.Bytes
	On     bool
	None   *int
}

type values map[string]any

func (v values) Read() (map[string]any, error) { return v, nil }
func (v values) ReadBytes() ([]byte, error)    { return nil, nil }

func filled(t testing.TB, v values) *koanf.Koanf {
	t.Helper()
	k := koanf.New(".")
	if err := k.Load(v, nil); err != nil {
		t.Fatal(err)
	}
	return k
}

func TestLayerAndView(t *testing.T) {
	t.Parallel()
	k := filled(t, values{
		"a": 7, "pw": "hunter2", "url": "https://u:pw@h/x", "tags": []any{"x", "y"}, "limits": map[string]any{"a": 0.5},
		"items": []any{map[string]any{"name": "n"}}, "size": "64MiB", "on": true,
	})
	path := filepath.Join(t.TempDir(), "c.yaml")
	if err := os.WriteFile(path, []byte("b: 8\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	store, err := config.Load(t.Context(), settings{}, bridge.Layer("legacy", k), config.File(path))
	if err != nil {
		t.Fatal(err)
	}
	if e, _ := store.Explain().Find("a"); e.Origin.String() != "source legacy" {
		t.Errorf("origin %s", e.Origin)
	}

	view := bridge.View(store)
	got := view()
	for what, ok := range map[string]bool{
		"int": got.Int("a") == 7 && got.Int64("b") == 8, "duration": got.Duration("wait") == 5*time.Second,
		"secret": got.String("pw") == "hunter2", "url": got.String("url") == "https://u:pw@h/x", "list": fmt.Sprint(got.Strings("tags")) == "[x y]",
		"map": got.Float64("limits.a") == 0.5, "items": got.Slices("items")[0].String("name") == "n", "size": got.String("size") == "64MiB",
		"bool": got.Bool("on"), "null": got.Get("none") == nil,
	} {
		if !ok {
			t.Errorf("%s is not there: %v", what, got.Raw())
		}
	}
	if view() != got {
		t.Error("the same snapshot gives another Koanf")
	}
	var back settings
	if err := got.Unmarshal("", &back); err == nil && back.A != 7 {
		t.Errorf("Unmarshal gives %+v", back)
	}
}

// TestViewIsOneSnapshot reads two keys that change together.
func TestViewIsOneSnapshot(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "c.yaml")
	if err := os.WriteFile(path, []byte("a: 0\nb: 0\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	store, err := config.Load(t.Context(), settings{}, config.File(path, config.Writable()))
	if err != nil {
		t.Fatal(err)
	}
	view := bridge.View(store)
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			for ctx.Err() == nil {
				if k := view(); k.Int("a") != k.Int("b") {
					t.Errorf("a %d, b %d", k.Int("a"), k.Int("b"))
					return
				}
			}
		})
	}
	for i := range 30 {
		if err := store.Update(ctx, func(s *settings) error { s.A, s.B = i, i; return nil }); err != nil {
			t.Error(err)
		}
	}
	cancel()
	wg.Wait()
}

func ExampleView() {
	k := koanf.New(".")
	_ = k.Load(values{"a": 1, "tags": []any{"x"}}, nil)
	store, err := config.Load(context.Background(), settings{}, bridge.Layer("legacy", k))
	view := bridge.View(store)
	now := view() // one snapshot
	fmt.Println(now.Int("a"), now.Strings("tags"), now.Duration("wait"), err)
	// Output: 1 [x] 5s <nil>
}
