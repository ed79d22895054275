package config_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing/fstest"
	"time"

	"github.com/svcblocks/svcblocks/config"
)

// settings are the settings of the examples.
type settings struct {
	Mode   string `oneof:"dev|prod" doc:"what the service runs as"`
	Scrape struct {
		RotateEvery int           `min:"1" max:"100" doc:"requests before a new identity"`
		Timeout     time.Duration `doc:"for one page"`
	}
	Token config.Secret
}

// exampleFile makes a settings file to work with.
func exampleFile(content string) (path string, remove func()) {
	dir, err := os.MkdirTemp("", "config-example")
	if err != nil {
		panic(err)
	}
	path = filepath.Join(dir, "config.yaml")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		panic(err)
	}
	return path, func() { _ = os.RemoveAll(dir) }
}

// exampleYAML is a settings file in memory.
func exampleYAML(content string) config.Option {
	return config.File("config.yaml", config.In(fstest.MapFS{"config.yaml": {Data: []byte(content + "\n")}}))
}

func ExampleLoad() {
	// As an embed.FS of the program would hold it.
	embedded := fstest.MapFS{"config.yaml": {Data: []byte("scrape:\n  rotate_every: 25\n")}}
	defaults := settings{Mode: "dev"}
	flags := flag.NewFlagSet("service", flag.ContinueOnError)
	config.DefineFlags(flags, defaults)
	_ = flags.Parse([]string{"-scrape.timeout=30s"})

	store, err := config.Load(context.Background(), defaults,
		config.File("config.yaml", config.In(embedded)),
		config.Env("APP"),
		config.Flags(flags))
	if err != nil {
		fmt.Println(err)
		return
	}
	cfg := store.Get()
	fmt.Println(cfg.Mode, cfg.Scrape.RotateEvery, cfg.Scrape.Timeout)
	// Output: dev 25 30s
}

func ExampleReport() {
	embedded := fstest.MapFS{"config.yaml": {Data: []byte("mode: staging\nscrape:\n  rotate_evry: 25\n  timeout: 30\n")}}
	_, err := config.Load(context.Background(), settings{}, config.File("config.yaml", config.In(embedded)))
	fmt.Println(err)
	// Output:
	// config: load: 3 problems:
	//   config.yaml:1:7: mode: got "staging", want one of dev, prod
	//   config.yaml:3:3: scrape.rotate_evry: unknown key (did you mean "rotate_every"?)
	//   config.yaml:4:12: scrape.timeout: got "30", want a duration, such as 30s, 5m or 1h30m (give the unit: 30s, 30ms, 30m)
}

func ExampleProblem() {
	embedded := fstest.MapFS{"config.yaml": {Data: []byte("scrape:\n  rotate_every: 500\n")}}
	_, err := config.Load(context.Background(), settings{}, config.File("config.yaml", config.In(embedded)))
	var report *config.Report
	if errors.As(err, &report) {
		for _, p := range report.Problems {
			fmt.Printf("%s line %d: %s is %s, want %s\n", p.File, p.Line, p.Key, p.Value, p.Want)
		}
	}
	// Output: config.yaml line 2: scrape.rotate_every is 500, want from 1 to 100
}

func ExampleKind() {
	embedded := fstest.MapFS{"config.yaml": {Data: []byte("mode: staging\nscrape:\n  rotate_evry: 25\n")}}
	_, err := config.Load(context.Background(), settings{}, config.File("config.yaml", config.In(embedded)))
	if report, ok := errors.AsType[*config.Report](err); ok {
		for _, p := range report.Problems {
			fmt.Println(p.Key, p.Kind, p.Kind == config.KindUnknown)
		}
	}
	// Output:
	// mode out of range false
	// scrape.rotate_evry unknown true
}

func ExampleStore() {
	path, remove := exampleFile("mode: dev # or prod\nscrape:\n  rotate_every: 25\n")
	defer remove()
	ctx := context.Background()
	store, err := config.Load(ctx, settings{}, config.File(path, config.Writable()))
	if err != nil {
		fmt.Println(err)
		return
	}
	stop := config.OnChange(store, func(s *settings) string { return s.Mode }, func(old, next string) {
		fmt.Println("mode:", old, "to", next)
	})
	defer stop()

	if err := store.Set(ctx, "scrape.rotate_every", "50"); err != nil {
		fmt.Println(err)
	}
	err = store.Update(ctx, func(s *settings) error {
		s.Mode, s.Scrape.Timeout = "prod", 30*time.Second
		return nil
	})
	fmt.Println(store.Get().Scrape.RotateEvery, err)
	text, _ := os.ReadFile(path)
	fmt.Print(string(text))
	// Output:
	// mode: dev to prod
	// 50 <nil>
	// mode: prod # or prod
	// scrape:
	//   rotate_every: 50
	//   timeout: 30s
}

func ExampleExplanation() {
	embedded := fstest.MapFS{
		"config.yaml":      {Data: []byte("mode: dev\nscrape: {rotate_every: 25}\ntoken: s3cr3t\n")},
		"config.prod.yaml": {Data: []byte("mode: prod\n")},
	}
	store, err := config.Load(context.Background(), settings{},
		config.File("config.yaml", config.In(embedded)), config.Profile("prod"))
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Print(store.Explain())
	// Output:
	// mode                 prod        profile config.prod.yaml:1:7
	//                      dev         over file config.yaml:1:7
	// scrape.rotate_every  25          file config.yaml:2:24
	// scrape.timeout       0s          default
	// token                [redacted]  file config.yaml:3:8
}

func ExampleEntry() {
	store, _ := config.Load(context.Background(), settings{Mode: "dev"}, exampleYAML("mode: prod"))
	entry, _ := store.Explain().Find("mode")
	fmt.Println(entry.Key, entry.Value, "-", entry.Doc)
	// Output: mode prod - what the service runs as
}

func ExampleOrigin() {
	store, _ := config.Load(context.Background(), settings{}, exampleYAML("mode: prod"))
	entry, _ := store.Explain().Find("mode")
	fmt.Println(entry.Origin, entry.Origin.Line)
	// Output: file config.yaml:1:7 1
}

func ExampleOverridden() {
	store, _ := config.Load(context.Background(), settings{Mode: "dev"}, exampleYAML("mode: prod"))
	entry, _ := store.Explain().Find("mode")
	for _, o := range entry.Overrode {
		fmt.Println(o.Value, "by", o.Origin)
	}
	// Output: dev by default
}

func ExampleOverriddenError() {
	path, remove := exampleFile("mode: dev\n")
	defer remove()
	must := func(err error) {
		if err != nil {
			panic(err)
		}
	}
	must(os.Setenv("EXAMPLE_MODE", "prod"))
	defer func() { must(os.Unsetenv("EXAMPLE_MODE")) }()
	store, err := config.Load(context.Background(), settings{}, config.File(path, config.Writable()), config.Env("EXAMPLE"))
	must(err)
	err = store.Set(context.Background(), "mode", "dev")
	var overridden *config.OverriddenError
	fmt.Println(err, errors.As(err, &overridden))
	// Output: config: update mode: overridden by env EXAMPLE_MODE; change it there true
}

func ExampleWriteError() {
	path, remove := exampleFile("mode: dev\n")
	defer remove()
	store, err := config.Load(context.Background(), settings{}, config.File(path, config.Writable()))
	if err != nil {
		fmt.Println(err)
		return
	}
	_ = os.Chmod(path, 0o400)
	err = store.Set(context.Background(), "mode", "prod")
	var failed *config.WriteError
	fmt.Println(errors.As(err, &failed), failed.Hint, errors.Is(err, os.ErrPermission))
	// Output: true the file is read-only true
}

func ExampleStats() {
	store, _ := config.Load(context.Background(), settings{}, exampleYAML("mode: dev"))
	_ = store.Reload(context.Background())
	status := store.Stats()
	fmt.Println(status.Generation, status.Err)
	// Output: 2 <nil>
}

// letterBox is a Resolver of secrets that lie in memory.
type letterBox map[string]string

func (b letterBox) Resolve(_ context.Context, path, key string) (string, time.Duration, error) {
	value, ok := b[path+"#"+key]
	if !ok {
		return "", 0, fmt.Errorf("nothing at %s#%s", path, key)
	}
	return value, 0, nil
}

func ExampleResolver() {
	store, err := config.Load(context.Background(), settings{},
		exampleYAML("token: ref+box://mail#password"),
		config.Resolve("box", letterBox{"mail#password": "s3cr3t"}))
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(store.Get().Token, len(store.Get().Token.Reveal()))
	// Output: [redacted] 6
}

// session is a Resolver that is logged in for a while.
type session struct {
	letterBox
	until time.Time
}

func (s session) Expires() time.Time { return s.until }

func ExampleExpirer() {
	box := session{letterBox{"mail#password": "s3cr3t"}, time.Now().Add(time.Hour)}
	store, err := config.Load(context.Background(), settings{},
		exampleYAML("token: ref+box://mail#password"), config.Resolve("box", box))
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("the secret ends:", !store.Stats().References[0].ExpiresAt.IsZero())
	// Output: the secret ends: false
}

func ExampleReferenceStatus() {
	box := letterBox{"mail#password": "s3cr3t"}
	store, _ := config.Load(context.Background(), settings{},
		exampleYAML("token: ref+box://mail#password"), config.Resolve("box", box))
	delete(box, "mail#password")
	fmt.Println(store.Refresh(context.Background()))
	for _, r := range store.Stats().References {
		fmt.Println(r.Reference, r.Keys, r.Err)
	}
	fmt.Println(len(store.Get().Token.Reveal()), "characters, as before")
	// Output:
	// config: refresh ref+box://mail#password: nothing at mail#password
	// ref+box://mail#password [token] nothing at mail#password
	// 6 characters, as before
}

func ExampleOption() {
	layers := []config.Option{config.File("config.yaml", config.Optional())}
	if len(os.Args) > 100 {
		layers = append(layers, config.Lenient())
	}
	store, err := config.Load(context.Background(), settings{Mode: "dev"}, layers...)
	fmt.Println(store.Get().Mode, err)
	// Output: dev <nil>
}

func ExampleFileOption() {
	embedded := fstest.MapFS{"defaults.toml": {Data: []byte("mode = 'prod'\n")}}
	opts := []config.FileOption{config.In(embedded), config.Optional()}
	store, err := config.Load(context.Background(), settings{}, config.File("defaults.toml", opts...))
	fmt.Println(store.Get().Mode, err)
	// Output: prod <nil>
}

func ExampleBytes() {
	size, err := config.ParseBytes("64MiB")
	fmt.Println(int64(size), size, config.Bytes(1500), err)
	// Output: 67108864 64MiB 1500B <nil>
}

func ExampleURL() {
	u, err := config.ParseURL("https://user:s3cr3t@hooks.example/x")
	fmt.Println(u, u.String(), err)
	// Output: https://[redacted]@hooks.example/x https://user:s3cr3t@hooks.example/x <nil>
}

func ExampleSecret() {
	var s config.Secret
	_ = s.UnmarshalText([]byte("s3cr3t"))
	fmt.Printf("%v %+v %#v %d\n", s, s, s, len(s.Reveal()))
	// Output: [redacted] [redacted] secret.New("[redacted]") 6
}

func ExampleMain() {
	embedded := fstest.MapFS{"config.yaml": {Data: []byte("scrape:\n  rotate_every: 25\n")}}
	code := config.Main(context.Background(), settings{}, []string{"get", "scrape.rotate_every"},
		config.File("config.yaml", config.In(embedded)))
	fmt.Println("exit", code)
	// Output:
	// 25
	// exit 0
}

// registry stands for a provider of settings, such as one of koanf's.
type registry struct{}

func (registry) Read() (map[string]any, error) { return map[string]any{"mode": "prod"}, nil }
func (registry) ReadBytes() ([]byte, error)    { return []byte("mode = prod"), nil }

// equals stands for a parser.
type equals struct{}

func (equals) Unmarshal(document []byte) (map[string]any, error) {
	key, value, _ := strings.Cut(string(document), " = ")
	return map[string]any{key: value}, nil
}

func ExampleSource() {
	var provider config.Provider = registry{}
	var parser config.Parser = equals{}
	type settings struct{ Mode string }
	a, err := config.Load(context.Background(), settings{}, config.Source("registry", provider, nil))
	fmt.Println(a.Get().Mode, err)
	b, err := config.Load(context.Background(), settings{}, config.Source("registry", provider, parser))
	fmt.Println(b.Get().Mode, err)
	// Output:
	// prod <nil>
	// prod <nil>
}
