package config_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"math/rand/v2"
	"net/url"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/svcblocks/svcblocks/config"
	"github.com/svcblocks/svcblocks/internal/testenv"
)

// holder holds everything that copies of settings might share.
type holder struct {
	N     int
	Extra map[string]any
	L     []any
	M     map[string]int
	Big   big.Int
	PBig  *big.Int `koanf:"pbig"`
	Level *slog.LevelVar
	Many  map[string]*big.Int
	Deep  *struct{ List []*big.Int }
	URL   config.URL
	Items []struct {
		Name string
		Any  map[string]any
	}
}

func holderDefaults() holder {
	u, _ := config.ParseURL("https://u:pw@host.example/x")
	return holder{
		Extra: map[string]any{"def": map[string]any{"x": 1, "l": []any{1, 2}}},
		PBig:  big.NewInt(1), Many: map[string]*big.Int{"d": big.NewInt(3)}, URL: u,
	}
}

// render writes all of the settings, so that two can be compared whatever they
// share.
func render(s *holder) string {
	data, err := json.Marshal(s)
	if err != nil {
		return err.Error()
	}
	return string(data) + s.Big.String()
}

// mutate makes a random change in place, to what a file holds or a default.
func mutate(rng *rand.Rand, s *holder) {
	inner := func() map[string]any {
		m, ok := s.Extra["db"].(map[string]any)
		if !ok {
			m = map[string]any{}
			if s.Extra == nil {
				s.Extra = map[string]any{}
			}
			s.Extra["db"] = m
		}
		return m
	}
	switch rng.IntN(16) {
	case 0:
		s.N = rng.IntN(1000)
	case 1:
		inner()["pool"] = rng.IntN(1000)
	case 2:
		inner()["name"] = fmt.Sprint("n", rng.IntN(9))
	case 3:
		inner()["ratio"] = rng.Float64()
	case 4:
		delete(inner(), "pool")
	case 5:
		if def, ok := s.Extra["def"].(map[string]any); ok {
			def["x"] = rng.IntN(1000)
		}
	case 6:
		if def, ok := s.Extra["def"].(map[string]any); ok {
			if l, ok := def["l"].([]any); ok && len(l) > 0 {
				l[rng.IntN(len(l))] = rng.IntN(1000)
			}
		}
	case 7:
		s.L = append(s.L, []any{rng.IntN(9), "x", true}[rng.IntN(3)])
		if len(s.L) > 5 {
			s.L = s.L[3:]
		}
	case 8:
		if len(s.L) > 0 {
			s.L[rng.IntN(len(s.L))] = map[string]any{"k": rng.IntN(9)}
		}
	case 9:
		if s.M == nil {
			s.M = map[string]int{}
		}
		s.M[string(rune('a'+rng.IntN(5)))] = rng.IntN(1000)
	case 10:
		s.Big.SetInt64(rng.Int64N(1000))
	case 11:
		s.PBig.SetInt64(rng.Int64N(1000))
	case 12:
		if s.Level == nil {
			s.Level = new(slog.LevelVar)
		}
		s.Level.Set(slog.Level(4 * (rng.IntN(4) - 1)))
	case 13:
		for _, n := range s.Many {
			n.SetInt64(rng.Int64N(1000))
		}
	case 14:
		if s.Deep == nil {
			s.Deep = &struct{ List []*big.Int }{List: []*big.Int{big.NewInt(5)}}
		}
		s.Deep.List[0].SetInt64(rng.Int64N(1000))
	case 15:
		if len(s.Items) > 0 && s.Items[0].Any != nil {
			s.Items[0].Any["v"] = []string{"a", "b"}[:1+rng.IntN(2)]
		}
	}
}

var errChange = errors.New("the change does not want to")

// TestUpdateIsAllOrNothing makes random changes, in place, to values that live
// under interfaces, pointers and lists; most of them fail in the end. What
// Update returned is what readers, a fresh load of the file and the defaults
// say afterwards, while a reader looks at every snapshot.
func TestUpdateIsAllOrNothing(t *testing.T) {
	t.Parallel()
	const lanes = 4
	steps := testenv.Reps(40_000) / lanes // each writes to the disk with fsync
	if testenv.Soak() {
		steps = 100_000 / lanes
	}
	var written, failed atomic.Int64
	var wg sync.WaitGroup
	for i := range lanes {
		dir := t.TempDir()
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(i), 11))
			name := []string{"c.yaml", "c.json", "c.toml", "c.jsonc"}[i]
			text := map[string]string{
				"c.yaml": "n: 1\nextra:\n  db:\n    pool: 5 # about the pool\nitems:\n  - name: a\n    any: {v: x}\nlevel: INFO\n",
				"c.toml": "n = 1\nlevel = 'INFO'\n[extra.db]\npool = 5\n[[items]]\nname = 'a'\nany = {v = 'x'}\n",
			}[name]
			if text == "" {
				text = `{"n": 1, "extra": {"db": {"pool": 5}}, "items": [{"name": "a", "any": {"v": "x"}}], "level": "INFO"}`
			}
			path := write(t, dir, name, text)
			old := write(t, dir, "old-"+name, text)
			def := holderDefaults()
			s := load(t, def, config.File(path, config.Writable()))

			stop := make(chan struct{})
			var reader sync.WaitGroup
			reader.Go(func() {
				tick := time.NewTicker(2 * time.Millisecond)
				defer tick.Stop()
				for {
					select {
					case <-stop:
						return
					case <-tick.C:
						_ = render(s.Get())
						_ = s.Explain()
					}
				}
			})
			defer reader.Wait()
			defer close(stop)

			for step := range steps {
				before, file := render(s.Get()), readText(t, path)
				seed := rng.Uint64()
				fails := rng.IntN(10) > 0

				err := s.Update(t.Context(), func(v *holder) error {
					mutate(rand.New(rand.NewPCG(seed, 1)), v)
					if fails {
						return errChange
					}
					return nil
				})

				want := before
				if err == nil {
					must(t, os.WriteFile(old, []byte(file), 0o600))
					changed := load(t, holderDefaults(), config.File(old)).Get()
					mutate(rand.New(rand.NewPCG(seed, 1)), changed)
					want = render(changed)
					written.Add(1)
				} else {
					failed.Add(1)
					if now := readText(t, path); now != file {
						t.Errorf("step %d: %v, and the file changed from %q to %q", step, err, file, now)
						return
					}
				}
				if got := render(s.Get()); got != want {
					t.Errorf("step %d: Update returned %v\n got %s\nwant %s", step, err, got, want)
					return
				}
				if err != nil && step%20 > 0 {
					continue // nothing was written, as was seen above
				}
				if fresh := render(load(t, holderDefaults(), config.File(path)).Get()); fresh != want {
					t.Errorf("step %d: a fresh load after %v\n got %s\nwant %s\nfile %s", step, err, fresh, want, readText(t, path))
					return
				}
			}
			if got, want := render(&def), render(new(holderDefaults())); got != want {
				t.Errorf("the caller's defaults are %s, want %s", got, want)
			}
		})
	}
	wg.Wait()
	t.Logf("%d changes written, %d refused or failed", written.Load(), failed.Load())
}

func readText(t testing.TB, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	must(t, err)
	return string(data)
}

// TestUpdateNamesWhatItCannotWrite changes what no file can hold.
func TestUpdateNamesWhatItCannotWrite(t *testing.T) {
	t.Parallel()
	type settings struct {
		N     int
		Extra map[string]any
		Hook  func()         `koanf:"-"`
		Other map[string]int `koanf:"-"`
		Zones map[string]*time.Location
		Ports map[string]*int
		Plain any
	}
	for want, change := range map[string]func(s *settings){
		"settings.Hook was changed":          func(s *settings) { s.Hook = func() {} },
		"settings.Other was changed":         func(s *settings) { s.Other = map[string]int{"a": 1} },
		"settings.Plain was changed":         func(s *settings) { s.Plain = 5 },
		"extra.s: a value of type struct":    func(s *settings) { s.Extra["s"] = struct{ A int }{1} },
		"extra.c: a value of type chan int":  func(s *settings) { s.Extra["c"] = make(chan int) },
		"extra.n: null is no entry of a map": func(s *settings) { s.Extra["n"] = nil },
		"zones.n: null is no entry of a map": func(s *settings) { s.Zones = map[string]*time.Location{"n": nil} },
		"ports.n: null is no entry of a map": func(s *settings) { s.Ports = map[string]*int{"n": nil} },
	} {
		path := write(t, t.TempDir(), "c.yaml", "n: 1\nextra: {a: 1}\n")
		s := load(t, settings{}, config.File(path, config.Writable()))
		err := s.Update(t.Context(), func(v *settings) error { change(v); return nil })
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
		if got := readText(t, path); got != "n: 1\nextra: {a: 1}\n" {
			t.Errorf("%s: the file is now %q", want, got)
		}
	}
}

// sum reads text and says so by String alone, words not even that.
type (
	sum   struct{ parts []string }
	words []string
)

func (c *sum) UnmarshalText(text []byte) error {
	c.parts = strings.Split(string(text), "+")
	return nil
}

func (c *sum) String() string { return strings.Join(c.parts, "+") }

func (w *words) UnmarshalText(text []byte) error {
	*w = strings.Fields(string(text))
	return nil
}

// TestUpdateOfTypesWithoutMarshalText changes in place what types hold that read
// text, in the settings of a file and in the caller's defaults.
func TestUpdateOfTypesWithoutMarshalText(t *testing.T) {
	t.Parallel()
	type settings struct {
		C     sum
		Words words
		List  []*sum
		Def   sum
	}
	defaults := settings{Def: sum{[]string{"d"}}}
	const text = "c: a+b\nwords: x y\nlist: [e+f]\n"
	for name, tc := range map[string]struct {
		change func(s *settings)
		want   string // the file; empty: refused
	}{
		"String":       {func(s *settings) { s.C.parts[0] = "z" }, "c: z+b\nwords: x y\nlist: [e+f]\n"},
		"in a list":    {func(s *settings) { s.List[0].parts[1] = "z" }, "c: a+b\nwords: x y\nlist: [e+z]\n"},
		"of a default": {func(s *settings) { s.Def.parts[0] = "z" }, text + "def: z\n"},
		"no text":      {func(s *settings) { s.Words[0] = "z" }, ""},
	} {
		path := write(t, t.TempDir(), "c.yaml", text)
		s := load(t, defaults, config.File(path, config.Writable()))
		before := fmt.Sprint(s.Get())
		err := s.Update(t.Context(), func(v *settings) error { tc.change(v); return errChange })
		if got := fmt.Sprint(s.Get()); !errors.Is(err, errChange) || got != before || defaults.Def.parts[0] != "d" {
			t.Errorf("%s: an Update that failed (%v) left %s and the default %v", name, err, got, defaults.Def)
		}

		err = s.Update(t.Context(), func(v *settings) error { tc.change(v); return nil })
		switch got := readText(t, path); {
		case tc.want == "" && (err == nil || got != text || fmt.Sprint(s.Get()) != before):
			t.Errorf("%s: %v, and the file is %q; want an error and nothing written", name, err, got)
		case tc.want != "" && (err != nil || got != tc.want):
			t.Errorf("%s: %v, and the file is %q, want %q", name, err, got, tc.want)
		}
	}
}

// Types that read text and say nothing of themselves, as programs have them: a
// schedule with a time zone, a document whose parts know their parents, and an
// address that is not there yet.
type (
	hour     struct{ Location *time.Location }
	schedule struct{ Next fmt.Stringer }
	knot     struct{ Parent, First, Next *knot }
	webpage  struct{ Root *knot }
	address  struct{ *url.URL }
)

func (h *hour) String() string { return h.Location.String() }

func (s *schedule) UnmarshalText(text []byte) error {
	if len(text) != 5 {
		return errors.New("want hh:mm")
	}
	s.Next = &hour{time.Local}
	return nil
}

func (d *webpage) UnmarshalText([]byte) error {
	d.Root = &knot{}
	for range 3 {
		d.Root.First = &knot{Parent: d.Root, Next: d.Root.First}
	}
	return nil
}

func (a *address) UnmarshalText(text []byte) (err error) {
	a.URL, err = url.Parse(string(text))
	return err
}

// TestDefaultsOfAnyType loads defaults of types that cannot be copied as text.
func TestDefaultsOfAnyType(t *testing.T) {
	t.Parallel()
	type settings struct {
		At    schedule
		Page  webpage
		Site  address
		Under map[string]any
	}
	var defaults settings
	must(t, errors.Join(defaults.At.UnmarshalText([]byte("03:00")), defaults.Page.UnmarshalText(nil)))
	defaults.Under = map[string]any{"at": &hour{time.Local}, "page": defaults.Page.Root}

	s := load(t, defaults)
	got := s.Get()
	under := got.Under
	for name, at := range map[string]any{"a field": got.At.Next, "an interface": under["at"]} {
		if h, ok := at.(*hour); !ok || h.Location != time.Local {
			t.Errorf("in %s the zone is %v, want time.Local itself", name, at)
		}
	}
	for name, root := range map[string]any{"a field": got.Page.Root, "an interface": under["page"]} {
		if k, ok := root.(*knot); !ok || k == defaults.Page.Root || k.First == defaults.Page.Root.First || k.First.Next.Parent != k {
			t.Errorf("in %s the document is %p, want a copy that leads back to itself", name, root)
		}
	}
	if text := s.Explain().String(); got.Site.URL != nil || !strings.Contains(text, "site") {
		t.Errorf("the address is %v, and is explained as %s", got.Site.URL, text)
	}
}

// TestUpdateWritesAnyAsItReads puts values of Go's types under an interface:
// the file has them in the form that gives the same value back.
func TestUpdateWritesAnyAsItReads(t *testing.T) {
	t.Parallel()
	type settings struct{ Extra map[string]any }
	for _, tc := range []struct {
		value, want any
		text        string
	}{
		{6, int64(6), "n: 6"},
		{uint8(7), int64(7), "n: 7"},
		{5.0, 5.0, "n: 5.0"},
		{1e6, 1e6, "n: 1000000.0"},
		{[]string{"a", "5"}, []any{"a", "5"}, `n: [a, "5"]`},
		{[]any{1, 2.5, nil}, []any{int64(1), 2.5, nil}, "n: [1, 2.5, null]"},
		{map[string]int{"a.b": 1}, map[string]any{"a.b": int64(1)}, "n:\n    a.b: 1"},
		{"yes", "yes", `n: "yes"`},
	} {
		path := write(t, t.TempDir(), "c.yaml", "extra:\n  a: 1\n")
		s := load(t, settings{}, config.File(path, config.Writable()))
		must(t, s.Update(t.Context(), func(v *settings) error { v.Extra["n"] = tc.value; return nil }))
		if got := s.Get().Extra["n"]; fmt.Sprintf("%T %v", got, got) != fmt.Sprintf("%T %v", tc.want, tc.want) {
			t.Errorf("%v: reads back as %T %v, want %T %v", tc.value, got, got, tc.want, tc.want)
		}
		if got := readText(t, path); got != "extra:\n  a: 1\n  \"n\":"+tc.text[2:]+"\n" {
			t.Errorf("%v: the file is %q", tc.value, got)
		}
	}
}
