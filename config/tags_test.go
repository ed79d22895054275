package config_test

import (
	"flag"
	"strings"
	"testing"
	"time"

	"github.com/svcblocks/svcblocks/config"
	"github.com/svcblocks/svcblocks/internal/options"
)

// block stands for the options of any package.
type block struct {
	Timeout  time.Duration `doc:"bound of a request" default:"30s" min:"1s" max:"10m" zero:"default"`
	Format   string        `doc:"how lines look" default:"text" oneof:"text|json" zero:"default"`
	Attempts int           `doc:"tries in all" default:"5"`
	MaxBytes int64         `doc:"bound of a file" default:"64MiB" min:"1KiB"`
	On       bool          `doc:"whether it is on" default:"true"`
	Hosts    []string      `doc:"whom to ask" default:"a,b"`
	Items    []item        `doc:"the items"`
	Named    map[string]item
	Retry    *retry
	Own      func() `koanf:"-"`
}

type item struct {
	Name string        `doc:"the name of an item"`
	Wait time.Duration `doc:"between two" default:"2s" zero:"default"`
	N    int           `default:"7"`
}

type retry struct {
	Base time.Duration `doc:"first wait" default:"1s"`
	Max  time.Duration `doc:"longest wait" default:"1m"`
}

func (b block) Validate() error {
	wrong := options.Check(b)
	if b.Retry != nil && b.Retry.Base > b.Retry.Max {
		wrong.Add("Retry.Base", "%s is above Max, %s", b.Retry.Base, b.Retry.Max)
	}
	for i, it := range b.Items {
		if it.Name == "bad" {
			wrong.Add("Items["+string(rune('0'+i))+"].Name", "%q is no name", it.Name)
		}
	}
	return wrong.Err("block: new")
}

type blocks struct{ Log block }

// TestTagsGiveDefaults reads the defaults of somebody's options: tags, then a
// field of the defaults, then files. An explicit zero is a value.
func TestTagsGiveDefaults(t *testing.T) {
	t.Parallel()
	file := write(t, t.TempDir(), "c.yaml", `log:
  attempts: 0
  "on": false
  hosts: []
  items:
    - name: x
    - {name: y, n: 0, wait: 3s}
  named: {k: {name: z}}
  retry: {max: 2m}
`)
	var def blocks
	def.Log.Format = "json"
	s := load(t, def, config.File(file))
	got := s.Get().Log
	if got.Timeout != 30*time.Second || got.Format != "json" || got.MaxBytes != 64<<20 {
		t.Errorf("defaults: %+v", got)
	}
	if got.Attempts != 0 || got.On || len(got.Hosts) != 0 {
		t.Errorf("explicit zeros do not stay: %+v", got)
	}
	if got.Items[0] != (item{"x", 2 * time.Second, 7}) || got.Items[1] != (item{"y", 3 * time.Second, 0}) || got.Named["k"] != (item{"z", 2 * time.Second, 7}) {
		t.Errorf("items: %+v %+v", got.Items, got.Named)
	}
	if *got.Retry != (retry{time.Second, 2 * time.Minute}) {
		t.Errorf("a section behind a pointer: %+v", *got.Retry)
	}
	if e, _ := s.Explain().Find("log.timeout"); e.Value != "30s" || e.Doc != "bound of a request" || e.Origin.Layer != "default" {
		t.Errorf("Explain: %+v", e)
	}
}

func TestTagsAreShown(t *testing.T) {
	t.Parallel()
	fs := flag.NewFlagSet("x", flag.ContinueOnError)
	var usage strings.Builder
	fs.SetOutput(&usage)
	config.DefineFlags(fs, blocks{})
	fs.PrintDefaults()
	doc, err := config.Doc(blocks{})
	must(t, err)
	schema, err := config.Schema(blocks{})
	must(t, err)
	example, err := config.EnvExample(blocks{}, config.Env("APP"))
	must(t, err)
	for where, want := range map[string][]string{
		usage.String(): {"(default 30s)", "bound of a request", "(default 1m0s)", "text|json"},
		doc:            {"`30s`", "bound of a request", "`log.items[].name`", "the name of an item", "`log.named.*.wait`", "`1m0s`", "longest wait"},
		string(schema): {`"default": "30s"`, `"default": 5`, "the name of an item", `"default": "1m0s"`},
		example:        {"APP_LOG_TIMEOUT=30s", "APP_LOG_RETRY_MAX=1m0s"},
	} {
		for _, text := range want {
			if !strings.Contains(where, text) {
				t.Errorf("no %q in\n%s", text, where)
			}
		}
	}
}

// TestUpdateMakesASection sets a section that was none, with a zero where the tag
// has a default.
func TestUpdateMakesASection(t *testing.T) {
	t.Parallel()
	type part struct {
		Region string `default:"eu"`
		Wait   time.Duration
	}
	type settings struct{ More *part }
	path := write(t, t.TempDir(), "c.yaml", "")
	s := load(t, settings{}, config.File(path, config.Writable()))
	must(t, s.Update(t.Context(), func(v *settings) error {
		v.More = &part{Wait: time.Second}
		return nil
	}))
	if got := *s.Get().More; got != (part{"", time.Second}) || readAll(t, path) != "more:\n  region: \"\"\n  wait: 1s\n" {
		t.Errorf("got %+v from\n%s", got, readAll(t, path))
	}
}

// TestMistakesOfOptionsByKey tells what is wrong with options by key and place,
// once each.
func TestMistakesOfOptionsByKey(t *testing.T) {
	t.Parallel()
	file := write(t, t.TempDir(), "c.yaml", `log:
  timeout: 0s
  format: xml
  max_bytes: 5
  items: [{name: ok}, {name: bad, wait: 0s}]
  retry: {base: 5m}
`)
	_, err := config.Load(t.Context(), blocks{}, config.File(file))
	for _, want := range []string{
		"c.yaml:2:12: log.timeout: ", "would mean 30s", "c.yaml:3:11: log.format: ", "c.yaml:4:14: log.max_bytes: ",
		"c.yaml:5:30: log.items[1].name: ", "log.items[1].wait: ", "c.yaml:6:17: log.retry.base: 5m0s is above Max, 1m0s",
	} {
		wantText(t, err, want)
	}
	if n := strings.Count(err.Error(), "\n  "); n != 6 {
		t.Errorf("%d problems, want 6:\n%v", n, err)
	}
	if strings.Contains(err.Error(), "Retry.Base") || strings.Contains(err.Error(), "block: new") {
		t.Errorf("a field of Go is named:\n%v", err)
	}
}

func TestBadTagsAreMistakes(t *testing.T) {
	t.Parallel()
	for want, load := range map[string]func() error{
		"N: tag default": func() error {
			_, err := config.Load(t.Context(), struct {
				N int `default:"x"`
			}{})
			return err
		},
		"a secret has none": func() error {
			_, err := config.Load(t.Context(), struct {
				Pw config.Secret `default:"hunter2"`
			}{})
			return err
		},
		"N: tag zero": func() error {
			_, err := config.Load(t.Context(), struct {
				N int `zero:"default"`
			}{})
			return err
		},
		"Wait: tag default": func() error {
			_, err := config.Load(t.Context(), struct {
				Items []struct {
					Wait time.Duration `default:"5"`
				}
			}{})
			return err
		},
	} {
		wantText(t, load(), want)
	}
}
