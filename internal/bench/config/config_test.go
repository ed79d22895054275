package config_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/ilyakaznacheev/cleanenv"
	"github.com/knadh/koanf/parsers/json"
	"github.com/knadh/koanf/parsers/yaml"
	filep "github.com/knadh/koanf/providers/file"
	"github.com/knadh/koanf/v2"
	"github.com/spf13/viper"
	"go.uber.org/goleak"

	"github.com/svcblocks/svcblocks/config"
	"github.com/svcblocks/svcblocks/internal/bench"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// loader reads the file at path and decodes it.
type loader struct {
	name string
	load func(t testing.TB, path string) *settings[time.Duration]
}

// loaders do the same work: read a file, parse it, decode it into a struct.
// Ours also checks for unknown and duplicate keys and keeps each key's origin.
var loaders = []loader{
	{"ours", func(t testing.TB, path string) *settings[time.Duration] {
		store, err := config.Load(t.Context(), settings[time.Duration]{}, config.File(path))
		if err != nil {
			t.Fatal(err)
		}
		defer store.Close()
		return store.Get()
	}},
	{"koanf", func(t testing.TB, path string) *settings[time.Duration] {
		var s settings[time.Duration]
		if err := newKoanf(t, path).Unmarshal("", &s); err != nil {
			t.Fatal(err)
		}
		return &s
	}},
	{"viper", func(t testing.TB, path string) *settings[time.Duration] {
		var s settings[time.Duration]
		if err := newViper(t, path).Unmarshal(&s); err != nil {
			t.Fatal(err)
		}
		return &s
	}},
	{"cleanenv", func(t testing.TB, path string) *settings[time.Duration] {
		var s settings[duration]
		if err := cleanenv.ReadConfig(path, &s); err != nil {
			t.Fatal(err)
		}
		return plain(&s)
	}},
}

func newKoanf(t testing.TB, path string) *koanf.Koanf {
	var parser koanf.Parser = yaml.Parser()
	if strings.HasSuffix(path, ".json") {
		parser = json.Parser()
	}
	k := koanf.New(".")
	if err := k.Load(filep.Provider(path), parser); err != nil {
		t.Fatal(err)
	}
	return k
}

func newViper(t testing.TB, path string) *viper.Viper {
	v := viper.New()
	v.SetConfigFile(path)
	if err := v.ReadInConfig(); err != nil {
		t.Fatal(err)
	}
	return v
}

func TestLoadersAgree(t *testing.T) {
	t.Parallel()
	for _, format := range []string{"yaml", "json"} {
		path := file(t, format)
		for _, l := range loaders {
			t.Run(format+"/"+l.name, func(t *testing.T) {
				t.Parallel()
				if diff := cmp.Diff(want(), l.load(t, path)); diff != "" {
					t.Errorf("settings (-want +got):\n%s", diff)
				}
			})
		}
	}
	if n := len(newKoanf(t, file(t, "yaml")).Keys()); n != 105 {
		t.Errorf("the file has %d keys, not 105", n)
	}
}

func BenchmarkLoad(b *testing.B) {
	for _, format := range []string{"yaml", "json"} {
		b.Run("format="+format, func(b *testing.B) {
			path := file(b, format)
			var impls []bench.Impl
			for _, l := range loaders {
				if diff := cmp.Diff(want(), l.load(b, path)); diff != "" {
					b.Fatalf("%s: settings (-want +got):\n%s", l.name, diff)
				}
				impls = append(impls, bench.Impl{Name: l.name, Run: func(b *testing.B) {
					b.ReportAllocs()
					bench.LoopCPU(b, func() { l.load(b, path) })
				}})
			}
			bench.Compare(b, impls...)
		})
	}
}

func BenchmarkGet(b *testing.B) {
	path := file(b, "yaml")
	store, err := config.Load(b.Context(), settings[time.Duration]{}, config.File(path))
	if err != nil {
		b.Fatal(err)
	}
	defer store.Close()
	k, v := newKoanf(b, path), newViper(b, path)
	for _, got := range []string{store.Get().Mail.BaseURL, k.String("mail.base_url"), v.GetString("mail.base_url")} {
		if got != want().Mail.BaseURL {
			b.Fatalf("got %q, want %q", got, want().Mail.BaseURL)
		}
	}
	// Each loop is written out: the call of a function value would cost more
	// than ours.
	bench.Compare(
		b,
		bench.Impl{Name: "ours", Run: func(b *testing.B) {
			b.ReportAllocs()
			n := 0
			bench.MeasureCPU(b, func() {
				for b.Loop() {
					n += len(store.Get().Mail.BaseURL)
				}
			})
			used(b, n)
		}},
		bench.Impl{Name: "koanf", Run: func(b *testing.B) {
			b.ReportAllocs()
			n := 0
			bench.MeasureCPU(b, func() {
				for b.Loop() {
					n += len(k.String("mail.base_url"))
				}
			})
			used(b, n)
		}},
		bench.Impl{Name: "viper", Run: func(b *testing.B) {
			b.ReportAllocs()
			n := 0
			bench.MeasureCPU(b, func() {
				for b.Loop() {
					n += len(v.GetString("mail.base_url"))
				}
			})
			used(b, n)
		}},
	)
}

// used keeps the compiler from leaving out what n was counted from.
func used(b *testing.B, n int) {
	if n == 0 {
		b.Fatal("nothing was read")
	}
}
