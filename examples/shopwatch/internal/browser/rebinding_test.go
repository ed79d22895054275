package browser_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/svcblocks/svcblocks/examples/shopwatch/internal/browser"
	"github.com/svcblocks/svcblocks/internal/testenv"
)

// attacker is a name whose owner turned it to this machine after the browser had
// loaded a page by it.
const attacker = "rebind.attacker.example"

// servers are the programs of this repository that serve HTTP: the folder of the
// program, how it is started, and what it says before its address.
var servers = []struct {
	name, folder string
	args         func(t *testing.T, binary string) []string
	says         string
	get, post    []string
}{
	{
		name: "shopwatch", folder: "examples/shopwatch", says: "status page at ",
		args: func(*testing.T, string) []string { return []string{"-listen", "127.0.0.1:0"} },
		get:  []string{"/", "/api/status", "/api/runs", "/api/items", "/readyz", "/healthz", "/metrics"},
		post: []string{"/scrape", "/api/runs"},
	},
	{
		name: "service", folder: "examples/service",
		args: func(*testing.T, string) []string {
			return []string{
				"-listen", "127.0.0.1:0", "-data-dir", ".", "-log.file.path", "log", "-outbox.dir", "outbox", "-log.console.format", "off",
				"-mail.host", "mail.invalid", "-mail.from", "a@example.com", "-mail.to", "b@example.com", "-tor.socks", "127.0.0.1:9",
				"-site.url", "https://site.invalid/",
			}
		},
		get: []string{"/", "/readyz", "/healthz", "/metrics"}, post: []string{"/"},
	},
	{
		name: "fleet", folder: "examples/fleet", says: "page at ",
		args: func(*testing.T, string) []string {
			return []string{"hub", "-listen", "127.0.0.1:0", "-nats.listen", "127.0.0.1:0", "-data-dir", "data"}
		},
		get: []string{"/", "/api/status", "/readyz", "/healthz", "/assets/page.js"}, post: []string{"/", "/api/status"},
	},
	{
		name: "ml", folder: "examples/ml", says: "serving ", args: train,
		get: []string{"/v1/models/lots", "/v1/models/lots/metadata"}, post: []string{"/v1/models/lots:predict", "/v1/models/lots:classify"},
	},
}

// train makes a model and returns how it is served.
func train(t *testing.T, binary string) []string {
	t.Helper()
	dir := t.TempDir()
	var rows strings.Builder
	rows.WriteString("a,b,label\n")
	for i := range 100 {
		rows.WriteString(fmt.Sprintf("%d,%d,%d\n", i%2, i%7, i%2))
	}
	for name, text := range map[string]string{
		"features.json": `{"version": 1, "features": ["a", "b"], "classes": ["even", "odd"]}`, "train.csv": rows.String(), "test.csv": rows.String(),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	models := t.TempDir()
	if out, err := exec.Command(binary, "train", "-in", dir, "-models", models, "-steps", "10").CombinedOutput(); err != nil {
		t.Fatalf("train: %v\n%s", err, out)
	}
	return []string{"serve", "-models", models, "-listen", "127.0.0.1:0"}
}

// answer is what a page's script gets.
type answer struct {
	Path   string
	Status int
	Text   string
}

// TestRebinding loads a page by the attacker's name and has its script ask every
// server of this repository as its own origin: none gives it content, and none
// accepts what it posts.
func TestRebinding(t *testing.T) {
	t.Parallel()
	root, err := filepath.Abs(filepath.Join("..", "..", "..", ".."))
	if err != nil {
		t.Fatal(err)
	}
	chromium := browser.Start(t, "host-resolver-rules=MAP "+attacker+" 127.0.0.1")
	for _, server := range servers {
		t.Run(server.name, func(t *testing.T) {
			t.Parallel()
			binary := filepath.Join(t.TempDir(), "server")
			build := exec.Command("go", "build", "-o", binary, ".")
			build.Dir = filepath.Join(root, filepath.FromSlash(server.folder))
			if out, err := build.CombinedOutput(); err != nil {
				t.Fatalf("go build: %v\n%s", err, out)
			}
			address := startServer(t, binary, server.args(t, binary), server.says)

			strange := "http://" + attacker + ":" + address.Port()
			tab := chromium.Open(t, strange+server.get[0], browser.Desktop)
			for _, a := range ask(t, tab, "GET", server.get) {
				if a.Status != 421 || len(a.Text) > 500 {
					t.Errorf("GET %s by the attacker's name: %d, %d bytes: %.200s", a.Path, a.Status, len(a.Text), a.Text)
				}
			}
			for _, a := range ask(t, tab, "POST", server.post) {
				if a.Status != 421 {
					t.Errorf("POST %s by the attacker's name: %d %.200s", a.Path, a.Status, a.Text)
				}
			}

			// By its own address the same browser gets all of it.
			tab = chromium.Open(t, address.String()+server.get[0], browser.Desktop)
			for _, a := range ask(t, tab, "GET", server.get) {
				if a.Status == 421 || a.Status == 404 {
					t.Errorf("GET %s by the address: %d: the test says nothing", a.Path, a.Status)
				}
			}
		})
	}
}

// ask has the script of the page in tab ask its own origin.
func ask(t *testing.T, tab *browser.Tab, method string, paths []string) (answers []answer) {
	t.Helper()
	list, err := json.Marshal(paths)
	if err != nil {
		t.Fatal(err)
	}
	script := fmt.Sprintf(`Promise.all(%s.map(path => fetch(path, {method: %q}).then(async r => ({Path: path, Status: r.status, Text: await r.text()})))).then(JSON.stringify)`, list, method)
	if err := json.Unmarshal([]byte(browser.Eval[string](tab, script)), &answers); err != nil {
		t.Fatal(err)
	}
	return answers
}

// startServer starts a server in a folder of its own, until t ends.
func startServer(t *testing.T, binary string, args []string, says string) *url.URL {
	t.Helper()
	cmd := exec.Command(binary, args...)
	cmd.Dir = t.TempDir()
	cmd.Stderr = t.Output()
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // it may have ended
		_ = cmd.Wait()         // by that
	})

	text := ""
	if says == "" { // it writes its address into its folder
		testenv.Eventually(t, func() error {
			address, err := os.ReadFile(filepath.Join(cmd.Dir, "address"))
			if text = "http://" + string(address); err == nil && len(address) == 0 {
				err = io.ErrUnexpectedEOF
			}
			return err
		})
	} else {
		line, err := bufio.NewReader(out).ReadString('\n')
		_, rest, found := strings.Cut(line, says)
		if err != nil || !found {
			t.Fatalf("it says %q: %v", line, err)
		}
		text = strings.TrimRight(strings.Fields(rest)[0], ",")
	}
	address, err := url.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	address.Path = ""
	return address
}
