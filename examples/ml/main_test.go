package main_test

import (
	"bufio"
	"bytes"
	"encoding/csv"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/svcblocks/svcblocks/examples/ml/internal/dataset"
)

// binary is the program, built once for all tests.
var binary string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "ml-test-")
	if err != nil {
		panic(err)
	}
	binary = filepath.Join(dir, "ml.exe")
	if out, err := exec.Command("go", "build", "-trimpath", "-o", binary, ".").CombinedOutput(); err != nil {
		panic(string(out))
	}
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		_ = os.RemoveAll(dir)
		os.Exit(code)
	}))
}

func command(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), binary, args...)
	cmd.Dir = t.TempDir()
	return cmd
}

func run(t *testing.T, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	cmd := command(t, args...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	_ = cmd.Run()
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

// The whole way on made-up data: what was trained is served, and the client
// finds what the training said.
func TestDemo(t *testing.T) {
	t.Parallel()
	stdout, stderr, code := run(t, "demo", "-steps", "300")
	if code != 0 {
		t.Fatalf("exit code %d\n%s", code, stderr)
	}
	var accuracies []string
	for _, word := range []string{"held-out accuracy ", ": accuracy ", "log loss 0.", "who always says "} {
		_, rest, ok := strings.Cut(stdout, word)
		if !ok {
			t.Fatalf("the output lacks %q:\n%s", word, stdout)
		}
		accuracies = append(accuracies, rest[:5])
	}
	if a, err := strconv.ParseFloat(accuracies[0], 64); err != nil || a < 0.9 || accuracies[0] != accuracies[1] {
		t.Errorf("accuracies %v: want them equal and at least 0.9", accuracies)
	}
}

// Train, serve and ask as processes of their own, on files as examples/features
// writes them.
func TestTrainServeAsk(t *testing.T) {
	t.Parallel()
	in, models := writeFeatures(t), t.TempDir()
	if stdout, stderr, code := run(t, "train", "-in", in, "-models", models, "-steps", "100"); code != 0 || !strings.Contains(stdout, "version 1") {
		t.Fatalf("train: exit code %d\n%s%s", code, stdout, stderr)
	}
	server := command(t, "serve", "-models", models, "-listen", "127.0.0.1:0")
	server.Stderr = io.Discard
	pipe, err := server.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(pipe).ReadString('\n')
	_, url, _ := strings.Cut(line, "serving ")
	url, _, ok := strings.Cut(url, "/v1/models/lots")
	if err != nil || !ok {
		t.Fatalf("serve printed %q: %v", line, err)
	}

	// A page whose name its owner turned to this machine reads nothing.
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url+"/v1/models/lots", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Host = "rebind.attacker.example"
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	http.DefaultClient.CloseIdleConnections()
	if resp.StatusCode != http.StatusMisdirectedRequest {
		t.Errorf("by a strange name: %s", resp.Status)
	}
	if stdout, stderr, code := run(t, "ask", "-in", in, "-url", url); code != 0 || !strings.Contains(stdout, "asked 40 times") {
		t.Errorf("ask: exit code %d\n%s%s", code, stdout, stderr)
	}
	// Other columns than the model's are refused before anything is asked.
	if _, stderr, code := run(t, "ask", "-url", url, "-rows", "50"); code != 1 || !strings.Contains(stderr, "trained on the features") {
		t.Errorf("ask with other features: exit code %d\n%s", code, stderr)
	}
	// So are the same columns that another run scaled.
	path := filepath.Join(in, "features.json")
	description, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, bytes.Replace(description, []byte(`"version":1`), []byte(`"seed":2,"version":1`), 1), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, stderr, code := run(t, "ask", "-in", in, "-url", url); code != 1 || !strings.Contains(stderr, "another run of features scaled") {
		t.Errorf("ask with rows of another scale: exit code %d\n%s", code, stderr)
	}

	if err := server.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if err := server.Wait(); err != nil {
		t.Errorf("serve did not end cleanly: %v", err)
	}
}

// writeFeatures writes 200 rows with names of their own.
func writeFeatures(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	data := dataset.Generate(200, 3)
	data.Features[0] = "humidity"
	description, err := json.Marshal(map[string]any{"version": 1, "features": data.Features, "classes": data.Classes})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "features.json"), description, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, table := range map[string]dataset.Table{"train.csv": data.Train, "test.csv": data.Test} {
		var buf bytes.Buffer
		w := csv.NewWriter(&buf)
		records := [][]string{append(append([]string{}, data.Features...), "label")}
		for i, row := range table.X {
			var record []string
			for _, v := range row {
				record = append(record, strconv.FormatFloat(float64(v), 'g', -1, 32))
			}
			records = append(records, append(record, strconv.Itoa(int(table.Y[i]))))
		}
		if err := w.WriteAll(records); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), buf.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestWrongCalls(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		args []string
		code int
		want string
	}{
		{nil, 2, "demo, train, serve and ask"},
		{[]string{"predict"}, 2, `"predict" is no command`},
		{[]string{"train", "-steps", "0"}, 2, "steps"},
		{[]string{"train", "-name", "../x"}, 2, "name"},
		{[]string{"train", "x"}, 2, "flags alone"},
		{[]string{"train", "-step", "5"}, 2, "not defined: -step (ml train -help lists the flags)"},
		{[]string{"train", "-help"}, 0, "-steps"},
		{[]string{"train", "-in", "none"}, 1, "examples/features"},
		{[]string{"serve"}, 1, "train one first"},
		{[]string{"ask", "-url", "127.0.0.1"}, 1, "http://host:8501"},
	} {
		stdout, stderr, code := run(t, tt.args...)
		if code != tt.code || !strings.Contains(stderr, tt.want) || code != 0 && strings.Count(stderr, "\n") > 5 {
			t.Errorf("ml %v: exit code %d, want %d with %q:\n%s%s", tt.args, code, tt.code, tt.want, stdout, stderr)
		}
	}
}
