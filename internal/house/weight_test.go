package house_test

import (
	"archive/zip"
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/svcblocks/svcblocks/internal/testenv"
)

// consumer is a program outside the repository that imports one block, and
// what that block may cost it.
type consumer struct {
	name    string
	imports []string // below the module, used by the code
	code    string   // statements of main
	over    string   // the base program that the size is counted over
	maxMB   float64
	modules int // linked besides the program and this module
	sums    int // module paths in its go.sum; 0: not held
}

// bases are programs without this module; a block's size is counted over one.
var bases = map[string]string{
	"hello":    "package main\n\nimport \"fmt\"\n\nfunc main() { fmt.Println(\"hello\") }\n",
	"slog":     "package main\n\nimport (\n\t\"log/slog\"\n\t\"os\"\n)\n\nfunc main() { slog.New(slog.NewJSONHandler(os.Stdout, nil)).Info(\"hello\") }\n",
	"net/http": "package main\n\nimport (\n\t\"log/slog\"\n\t\"net/http\"\n\t\"os\"\n)\n\nfunc main() {\n\tres, err := http.Get(\"http://127.0.0.1/\")\n\tslog.New(slog.NewJSONHandler(os.Stdout, nil)).Info(\"done\", \"res\", res, \"err\", err)\n}\n",
}

// The limits of logging and notify are what was measured and 3 %; of logging
// 0.05 MB are the checks of internal/safefile and 0.12 compress/flate. Nearly all of
// it is their own code: of notify with slack, notify itself is a quarter, and
// what it shares (options, redact, health) a tenth; the rest is what they use of
// the standard library beyond net/http, and the tables of the linker for all of
// it. No template engine is linked, and no search by name that keeps unused
// methods alive.
var consumers = []consumer{
	{
		name: "config", imports: []string{"config"}, over: "hello", maxMB: 2.45, modules: 4, sums: 8,
		code: "type settings struct{ Name string }\n\tstore, err := config.Load(context.Background(), settings{}, config.File(\"c.yaml\", config.Optional()), config.Env(\"APP\"))\n\tif err != nil {\n\t\tpanic(err)\n\t}\n\tprintln(store.Get().Name)",
	},
	{
		name: "config/secret", imports: []string{"config/secret"}, over: "slog", maxMB: 0.05, modules: 0, sums: 0,
		code: "slog.New(slog.NewJSONHandler(os.Stdout, nil)).Info(\"hello\", \"token\", secret.New(\"x\"))",
	},
	{
		name: "logging", imports: []string{"logging"}, over: "slog", maxMB: 1.7, modules: 0,
		code: "logs, err := logging.New(nil)\n\tif err != nil {\n\t\tpanic(err)\n\t}\n\tlogs.Logger(\"x\").Info(\"hello\")\n\t_, _ = logs.SendBulk(context.Background())",
	},
	{
		name: "logging + sink/httpjson", imports: []string{"logging", "logging/sink/httpjson"}, over: "net/http", maxMB: 1.66, modules: 1, sums: 2,
		code: "sink, err := httpjson.New(&httpjson.Options{URL: \"http://127.0.0.1/\"})\n\tif err != nil {\n\t\tpanic(err)\n\t}\n\tlogs, err := logging.New(&logging.Options{Sink: sink})\n\tif err != nil {\n\t\tpanic(err)\n\t}\n\t_ = logs.Run(context.Background())",
	},
	{
		name: "notify + notify/slack", imports: []string{"config/secret", "notify", "notify/slack"}, over: "net/http", maxMB: 1.03, modules: 0,
		code: "hook, err := slack.NewWebhook(secret.New(\"https://127.0.0.1/\"), nil)\n\tif err != nil {\n\t\tpanic(err)\n\t}\n\thub, err := notify.New(&notify.Options{Receivers: []notify.Receiver{{Name: \"ops\", Notifier: hook}}})\n\tif err != nil {\n\t\tpanic(err)\n\t}\n\t_ = hub.Send(context.Background(), \"subject\", \"text\")",
	},
	{
		name: "notify + notify/email", imports: []string{"notify", "notify/email"}, over: "net/http", maxMB: 0.95, modules: 4,
		code: "mail, err := email.New(&email.Options{Host: \"127.0.0.1\", From: \"a@example.com\", To: []string{\"b@example.com\"}})\n\tif err != nil {\n\t\tpanic(err)\n\t}\n\thub, err := notify.New(&notify.Options{Receivers: []notify.Receiver{{Name: \"ops\", Notifier: mail}}})\n\tif err != nil {\n\t\tpanic(err)\n\t}\n\t_ = hub.Send(context.Background(), \"subject\", \"text\")",
	},
	{
		name: "scrape", imports: []string{"scrape"}, over: "net/http", maxMB: 1.8, modules: 5,
		code: "c, err := scrape.New(context.Background(), &scrape.Options{Egress: scrape.Direct()})\n\tif err != nil {\n\t\tpanic(err)\n\t}\n\tdefer c.Close()\n\t_, _ = c.Get(context.Background(), \"http://example.com/\")",
	},
	{
		name: "scrape + scrape/tor", imports: []string{"scrape", "scrape/tor"}, over: "net/http", maxMB: 2.3, modules: 8,
		code: "t, err := tor.Dial(context.Background(), &tor.Options{SOCKS: \"127.0.0.1:9050\"})\n\tif err != nil {\n\t\tpanic(err)\n\t}\n\tc, err := scrape.New(context.Background(), &scrape.Options{Egress: t})\n\tif err != nil {\n\t\tpanic(err)\n\t}\n\tdefer c.Close()\n\t_, _ = c.Get(context.Background(), \"http://example.com/\")",
	},
}

// TestWeight builds each consumer against this module as a proxy would serve
// it, with no replace, and prints what it costs.
func TestWeight(t *testing.T) {
	t.Parallel()
	testenv.Slow(t)
	dir, _ := load(t)
	const version = "v0.0.1"
	env := proxy(t, dir, version)

	sizes := map[string]int64{}
	for name, code := range bases {
		at := t.TempDir()
		write(t, filepath.Join(at, "go.mod"), "module example.com/base\n\ngo 1.26.0\n")
		write(t, filepath.Join(at, "main.go"), code)
		sizes[name], _ = build(t, at, env)
	}
	table := []string{fmt.Sprintf("%-26s %8s %8s %10s  over", "import", "modules", "go.sum", "size")}
	for _, c := range consumers {
		at := t.TempDir()
		write(t, filepath.Join(at, "go.mod"), fmt.Sprintf("module example.com/consumer\n\ngo 1.26.0\n\nrequire %s %s\n", module, version))
		write(t, filepath.Join(at, "main.go"), program(c))
		sum, err := os.ReadFile(filepath.Join(dir, "go.sum")) // known checksums: no look-up needed
		if err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(at, "go.sum"), string(sum))
		run(t, at, env, "go", "mod", "tidy")
		size, linked := build(t, at, env)
		added := float64(size-sizes[c.over]) / 1e6
		sums := sumPaths(t, at)
		table = append(table, fmt.Sprintf("%-26s %8d %8d %7.2f MB  %s", c.name, len(linked), sums, added, c.over))
		if added > c.maxMB {
			t.Errorf("%s adds %.2f MB to %s, more than %.2f", c.name, added, c.over, c.maxMB)
		}
		if len(linked) > c.modules {
			t.Errorf("%s links %d modules, more than %d: %s", c.name, len(linked), c.modules, strings.Join(linked, " "))
		}
		if c.sums > 0 && sums > c.sums {
			t.Errorf("%s needs %d module paths in go.sum, more than %d", c.name, sums, c.sums)
		}
		for _, path := range dependencies(t, at, env) {
			own := slices.ContainsFunc(c.imports, func(i string) bool { return block(module+"/"+i) == block(path) })
			if strings.HasPrefix(path, module+"/") && block(path) != "" && !own && path != module+"/config/secret" {
				t.Errorf("%s brings %s along", c.name, path)
			}
		}
	}
	t.Logf("%s/%s, -trimpath -ldflags='-s -w', CGO_ENABLED=0:\n%s", runtime.GOOS, runtime.GOARCH, strings.Join(table, "\n"))
}

func program(c consumer) string {
	var b strings.Builder
	b.WriteString("package main\n\nimport (\n")
	for _, std := range []string{"context", "log/slog", "os"} {
		if strings.Contains(c.code, path.Base(std)+".") {
			fmt.Fprintf(&b, "\t%q\n", std)
		}
	}
	for _, i := range c.imports {
		fmt.Fprintf(&b, "\t%q\n", module+"/"+i)
	}
	fmt.Fprintf(&b, ")\n\nfunc main() {\n\t%s\n}\n", c.code)
	return b.String()
}

// proxy packs the root module into a file tree that the go command reads as a
// module proxy, and returns an environment that asks it first.
func proxy(t *testing.T, dir, version string) []string {
	t.Helper()
	tree := t.TempDir()
	at := filepath.Join(tree, filepath.FromSlash(module), "@v")
	if err := os.MkdirAll(at, 0o755); err != nil {
		t.Fatal(err)
	}
	mod, err := os.ReadFile(filepath.Join(dir, "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(at, "list"), version+"\n")
	write(t, filepath.Join(at, version+".info"), `{"Version":"`+version+`"}`)
	write(t, filepath.Join(at, version+".mod"), string(mod))
	f, err := os.Create(filepath.Join(at, version+".zip"))
	if err != nil {
		t.Fatal(err)
	}
	z := zip.NewWriter(f)
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && path != dir:
			_, err := os.Stat(filepath.Join(path, "go.mod"))
			if err == nil || strings.HasPrefix(d.Name(), ".") || d.Name() == "testdata" || d.Name() == "bin" || d.Name() == "docs" {
				return filepath.SkipDir // a module of its own, or nothing that builds
			}
			return nil
		case !d.Type().IsRegular() || strings.HasSuffix(path, "_test.go"):
			return nil
		}
		rel, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		w, err := z.Create(module + "@" + version + "/" + filepath.ToSlash(rel))
		if err != nil {
			return err
		}
		_, err = w.Write(text)
		return err
	})
	if err := errors.Join(err, z.Close(), f.Close()); err != nil {
		t.Fatal(err)
	}

	cache := goenv(t, "GOMODCACHE")
	fileURL := func(path string) string { return "file://" + filepath.ToSlash(path) }
	return append(os.Environ(),
		"GOMODCACHE="+t.TempDir(),
		"GOPROXY="+strings.Join([]string{fileURL(tree), fileURL(filepath.Join(cache, "cache", "download")), goenv(t, "GOPROXY")}, ","),
		"GONOSUMDB="+module, "GOFLAGS=-modcacherw -mod=mod", "GOWORK=off", "CGO_ENABLED=0",
	)
}

func build(t *testing.T, dir string, env []string) (size int64, linked []string) {
	t.Helper()
	run(t, dir, env, "go", "build", "-trimpath", "-ldflags=-s -w", "-o", "program", ".")
	info, err := os.Stat(filepath.Join(dir, "program"))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(run(t, dir, env, "go", "version", "-m", "program")) {
		if f := strings.Fields(line); len(f) > 1 && f[0] == "dep" && f[1] != module {
			linked = append(linked, f[1])
		}
	}
	return info.Size(), linked
}

func dependencies(t *testing.T, dir string, env []string) []string {
	t.Helper()
	return strings.Fields(run(t, dir, env, "go", "list", "-deps", "."))
}

// sumPaths counts the module paths in go.sum but this module's.
func sumPaths(t *testing.T, dir string) int {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, "go.sum"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	paths := map[string]bool{}
	for line := range strings.Lines(string(text)) {
		path, _, _ := strings.Cut(line, " ")
		paths[path] = true
	}
	delete(paths, module)
	return len(paths)
}

func run(t *testing.T, dir string, env []string, name string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Dir, cmd.Env = dir, env
	var stdout, stderr strings.Builder
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s: %v\n%s", strconv.Quote(strings.Join(cmd.Args, " ")), err, cmp.Or(stderr.String(), stdout.String()))
	}
	return stdout.String()
}

func goenv(t *testing.T, name string) string {
	t.Helper()
	return strings.TrimSpace(run(t, ".", os.Environ(), "go", "env", name))
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}
