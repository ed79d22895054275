package serving_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/svcblocks/svcblocks/examples/ml/internal/dataset"
	"github.com/svcblocks/svcblocks/examples/ml/internal/model"
	"github.com/svcblocks/svcblocks/examples/ml/internal/serving"
	"github.com/svcblocks/svcblocks/internal/testenv"
)

var data = dataset.Generate(200, 1)

// trained is one model for all tests: it need not be a good one.
var trained = sync.OnceValues(func() (*model.Model, error) {
	return model.Train(context.Background(), data, model.Options{Hidden: []int{4}, Steps: 10, BatchRows: 16})
})

// save writes versions of the model below a new folder.
func save(t testing.TB, versions int) (base string, m *model.Model) {
	t.Helper()
	m, err := trained()
	if err != nil {
		t.Fatal(err)
	}
	base = filepath.Join(t.TempDir(), "lots")
	for range versions {
		if _, err := m.Save(base); err != nil {
			t.Fatal(err)
		}
	}
	return base, m
}

func serve(t testing.TB, versions int) (*httptest.Server, *model.Model) {
	t.Helper()
	base, m := save(t, versions)
	models, err := serving.Open(context.Background(), "lots", base, nil)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(models.Handler())
	t.Cleanup(server.Close)
	return server, m
}

// row is nine values as JSON.
const row = "[0.5,-1,0,1,2,0,1,0,0]"

func do(t testing.TB, server *httptest.Server, method, path, body string) (int, string, http.Header) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, server.URL+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	res, err := server.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, strings.TrimSpace(string(text)), res.Header
}

// The forms that the reference documents give the same probabilities.
func TestPredict(t *testing.T) {
	t.Parallel()
	server, m := serve(t, 2)
	p, err := m.Predict([][]float32{{0.5, -1, 0, 1, 2, 0, 1, 0, 0}})
	if err != nil {
		t.Fatal(err)
	}
	one, err := json.Marshal(p[0])
	if err != nil {
		t.Fatal(err)
	}
	rows := fmt.Sprintf(`{"predictions":[%s,%s]}`, one, one)
	columns := fmt.Sprintf(`{"outputs":[%s,%s]}`, one, one)
	for _, tt := range []struct{ name, path, body, want string }{
		{"rows", ":predict", `{"instances":[` + row + `,` + row + `]}`, rows},
		{"rows with a signature", ":predict", `{"signature_name":"serving_default","instances":[` + row + `,` + row + `]}`, rows},
		{"named rows", ":predict", `{"instances":[{"features":` + row + `},{"features":` + row + `}]}`, rows},
		{"a version", "/versions/1:predict", `{"instances":[` + row + `,` + row + `]}`, rows},
		{"columns", ":predict", `{"inputs":[` + row + `,` + row + `]}`, columns},
		{"named columns", ":predict", `{"inputs":{"features":[` + row + `,` + row + `]}}`, columns},
		{"an unknown member", ":predict", `{"instances":[` + row + `,` + row + `],"x":1}`, rows},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			status, got, header := do(t, server, "POST", "/v1/models/lots"+tt.path, tt.body)
			if status != 200 || got != tt.want || header.Get("Content-Type") != "application/json" {
				t.Errorf("%d %s %s, want 200 %s", status, header.Get("Content-Type"), got, tt.want)
			}
		})
	}
}

func TestClassify(t *testing.T) {
	t.Parallel()
	server, m := serve(t, 1)
	p, err := m.Predict([][]float32{{0.5, -1, 0, 1, 2, 0, 1, 0, 0}})
	if err != nil {
		t.Fatal(err)
	}
	want := fmt.Sprintf(`{"results":[[["no",%v],["yes",%v]]]}`, p[0][0], p[0][1])
	example := `"moisture":0.5,"altitude":-1,"age":0,"price":1,"weight":[2],"moisture_missing":0`
	for _, body := range []string{
		`{"examples":[{` + example + `,"grade=whole":1,"grade=broken":0,"grade=dust":0}]}`,
		`{"signature_name":"classify","context":{"grade=whole":1,"grade=broken":0,"grade=dust":0},"examples":[{` + example + `}]}`,
	} {
		if status, got, _ := do(t, server, "POST", "/v1/models/lots:classify", body); status != 200 || got != want {
			t.Errorf("%s: %d %s, want 200 %s", body, status, got, want)
		}
	}
}

// A wrong request gets a status and an "error" that says what is wrong, and
// never an answer.
func TestErrors(t *testing.T) {
	t.Parallel()
	server, _ := serve(t, 1)
	const at = "/v1/models/lots"
	for _, tt := range []struct {
		name, method, path, body string
		status                   int
		want                     string
	}{
		{"a value less", "POST", at + ":predict", `{"instances":[[1,2,3,4,5,6,7,8]]}`, 400, "instances[0] has 8 values: the model has 9 features"},
		{"a value more", "POST", at + ":predict", `{"instances":[` + row + `,[1,2,3,4,5,6,7,8,9,10]]}`, 400, "instances[1] has 10 values"},
		{"columns of a value less", "POST", at + ":predict", `{"inputs":[[1,2,3,4,5,6,7,8]]}`, 400, "inputs[0] has 8 values"},
		{"a text", "POST", at + ":predict", `{"instances":[["dry",2,3,4,5,6,7,8,9]]}`, 400, "instances[0][0] (moisture) is no number"},
		{"a null", "POST", at + ":predict", `{"instances":[[null,2,3,4,5,6,7,8,9]]}`, 400, "instances[0][0] (moisture)"},
		{"a number too large", "POST", at + ":predict", `{"instances":[[1e39,2,3,4,5,6,7,8,9]]}`, 400, "instances[0][0]"},
		{"a number beyond all", "POST", at + ":predict", `{"instances":[[1e999,2,3,4,5,6,7,8,9]]}`, 400, "JSON"},
		{"an overflow within", "POST", at + ":predict", `{"instances":[[3e38,3e38,3e38,3e38,3e38,3e38,3e38,3e38,3e38]]}`, 400, "finite"},
		{"no number", "POST", at + ":predict", `{"instances":[[NaN,2,3,4,5,6,7,8,9]]}`, 400, "finite numbers"},
		{"one deep", "POST", at + ":predict", `{"instances":` + row + `}`, 400, "instances[0] is no list"},
		{"no list", "POST", at + ":predict", `{"instances":7}`, 400, "no list"},
		{"null", "POST", at + ":predict", `{"instances":null}`, 400, "no list"},
		{"no instances", "POST", at + ":predict", `{"instances":[]}`, 400, "empty"},
		{"another input", "POST", at + ":predict", `{"instances":[{"image":` + row + `}]}`, 400, `input \"features\"`},
		{"two inputs", "POST", at + ":predict", `{"inputs":{"features":[` + row + `],"x":1}}`, 400, "nothing else"},
		{"both", "POST", at + ":predict", `{"instances":[` + row + `],"inputs":[` + row + `]}`, 400, "both"},
		{"neither", "POST", at + ":predict", `{}`, 400, "'inputs' or 'instances'"},
		{"another signature", "POST", at + ":predict", `{"signature_name":"x","instances":[` + row + `]}`, 400, "signature key"},
		{"nothing", "POST", at + ":predict", ``, 400, "JSON Parse error"},
		{"half", "POST", at + ":predict", `{"instances":[[1,`, 400, "JSON Parse error"},
		{"two values", "POST", at + ":predict", `{} {}`, 400, "JSON Parse error"},
		{"a list", "POST", at + ":predict", `[]`, 400, "JSON"},
		{"larger than all", "POST", at + ":predict", `{"x":"` + strings.Repeat("x", 17<<20) + `"}`, 413, "larger"},
		{"an unknown model", "POST", "/v1/models/half:predict", `{"instances":[1.0,5.0]}`, 404, "Servable not found for request: Latest(half)"},
		{"an unknown version", "POST", at + "/versions/7:predict", `{"instances":[` + row + `]}`, 404, "Specific(lots, 7)"},
		{"status of an unknown model", "GET", "/v1/models/half", "", 404, "Latest(half)"},
		{"metadata of an unknown version", "GET", at + "/versions/7/metadata", "", 404, "Specific(lots, 7)"},
		{"a version that is none", "GET", at + "/versions/x", "", 400, "no whole number"},
		{"version 0", "GET", at + "/versions/0", "", 400, "above 0"},
		{"a label", "POST", at + "/labels/stable:predict", `{"instances":[` + row + `]}`, 404, "label: stable"},
		{"an unknown verb", "POST", at + ":explain", `{}`, 404, "none of"},
		{"no verb", "POST", at + ":", `{}`, 404, "Malformed"},
		{"regression", "POST", at + ":regress", `{"examples":[{"x":1}]}`, 400, "classes"},
		{"another path", "GET", "/v2/models/lots", "", 404, "Malformed"},
		{"the root", "GET", "/", "", 404, "Malformed"},
		{"too deep", "GET", at + "/versions/1/x", "", 404, "Malformed"},
		{"get for predict", "GET", at + ":predict", "", 405, "POST"},
		{"post for status", "POST", at, "{}", 405, "GET"},
		{"classify without a feature", "POST", at + ":classify", `{"examples":[{"moisture":1}]}`, 400, `lacks \"altitude\"`},
		{"classify nothing", "POST", at + ":classify", `{"examples":[]}`, 400, "examples"},
		{"classify with a feature twice", "POST", at + ":classify", `{"context":{"moisture":1},"examples":[{"moisture":1}]}`, 400, "context and in"},
		{"classify with one more", "POST", at + ":classify", `{"examples":[{"moisture":1,"altitude":1,"age":1,"price":1,"weight":1,"moisture_missing":1,"grade=whole":1,"grade=broken":1,"grade=dust":1,"x":1}]}`, 400, "has 10 features"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			status, got, _ := do(t, server, tt.method, tt.path, tt.body)
			var answer map[string]string
			if err := json.Unmarshal([]byte(got), &answer); err != nil {
				t.Fatalf("the answer is no error object: %s", got)
			}
			if status != tt.status || len(answer) != 1 || !strings.Contains(got, tt.want) {
				t.Errorf("%d %s, want %d with %q", status, got, tt.status, tt.want)
			}
		})
	}
}

func TestStatus(t *testing.T) {
	t.Parallel()
	server, _ := serve(t, 2)
	version := func(n int) string {
		return fmt.Sprintf(`{"state":"AVAILABLE","status":{"error_code":"OK","error_message":""},"version":"%d"}`, n)
	}
	for path, want := range map[string]string{
		"":            `{"model_version_status":[` + version(2) + `,` + version(1) + `]}`,
		"/versions/1": `{"model_version_status":[` + version(1) + `]}`,
	} {
		if status, got, _ := do(t, server, "GET", "/v1/models/lots"+path, ""); status != 200 || got != want {
			t.Errorf("%s: %d %s, want %s", path, status, got, want)
		}
	}
}

func TestMetadata(t *testing.T) {
	t.Parallel()
	server, _ := serve(t, 1)
	status, text, _ := do(t, server, "GET", "/v1/models/lots/metadata", "")
	if status != 200 {
		t.Fatalf("%d %s", status, text)
	}
	type tensor struct {
		DType string `json:"dtype"`
		Shape struct {
			Dim []struct {
				Size string `json:"size"`
			} `json:"dim"`
		} `json:"tensor_shape"`
	}
	var got struct {
		Spec struct {
			Name    string `json:"name"`
			Version string `json:"version"`
		} `json:"model_spec"`
		Metadata struct {
			Def struct {
				Def map[string]struct {
					Inputs  map[string]tensor `json:"inputs"`
					Outputs map[string]tensor `json:"outputs"`
					Method  string            `json:"method_name"`
				} `json:"signature_def"`
			} `json:"signature_def"`
		} `json:"metadata"`
		Own struct {
			Features []string `json:"features"`
			Classes  []string `json:"classes"`
		} `json:"svcblocks"`
	}
	if err := json.Unmarshal([]byte(text), &got); err != nil {
		t.Fatal(err)
	}
	s := got.Metadata.Def.Def["serving_default"]
	in, out := s.Inputs["features"], s.Outputs["probabilities"]
	switch {
	case got.Spec.Name != "lots" || got.Spec.Version != "1" || s.Method != "tensorflow/serving/predict":
		t.Errorf("spec %+v, method %q", got.Spec, s.Method)
	case in.DType != "DT_FLOAT" || len(in.Shape.Dim) != 2 || in.Shape.Dim[0].Size != "-1" || in.Shape.Dim[1].Size != "9":
		t.Errorf("input %+v", in)
	case len(out.Shape.Dim) != 2 || out.Shape.Dim[1].Size != "2":
		t.Errorf("output %+v", out)
	}
	if diff := cmp.Diff(data.Features, got.Own.Features); diff != "" {
		t.Errorf("features (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(data.Classes, got.Own.Classes); diff != "" {
		t.Errorf("classes (-want +got):\n%s", diff)
	}
}

// A version that appears is served, one that does not load is left out and
// told of once, one that goes is forgotten; requests go on meanwhile.
func TestVersionsAreFollowed(t *testing.T) {
	t.Parallel()
	base, m := save(t, 1)
	var log lockedBuffer
	ctx, cancel := context.WithCancel(t.Context())
	models, err := serving.Open(ctx, "lots", base, slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(models.Handler())
	defer server.Close()
	done := make(chan error, 1)
	go func() { done <- models.Run(ctx, time.Millisecond) }()

	if err := os.Mkdir(filepath.Join(base, "2"), 0o700); err != nil { // broken: empty
		t.Fatal(err)
	}
	if v, err := m.Save(base); v != 3 || err != nil {
		t.Fatalf("version %d, %v; want 3", v, err)
	}
	await := func(version string, want int) {
		t.Helper()
		testenv.Eventually(t, func() error {
			status, text, _ := do(t, server, "POST", "/v1/models/lots/versions/"+version+":predict", `{"instances":[`+row+`]}`)
			if status != want {
				return fmt.Errorf("version %s: %d %s, want %d", version, status, text, want)
			}
			return nil
		})
	}
	await("3", 200)
	await("2", 404)
	if err := os.RemoveAll(filepath.Join(base, "1")); err != nil {
		t.Fatal(err)
	}
	await("1", 404)
	await("3", 200)
	// Without any version those in memory are kept.
	if err := os.RemoveAll(base); err != nil {
		t.Fatal(err)
	}
	testenv.Eventually(t, func() error {
		if !strings.Contains(log.String(), "no version is left") {
			return fmt.Errorf("the log does not tell: %s", log.String())
		}
		return nil
	})
	await("3", 200)
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if n := strings.Count(log.String(), "version left out"); n != 1 {
		t.Errorf("the broken version was told of %d times, want 1", n)
	}
}

type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

func TestOpenWithoutModels(t *testing.T) {
	t.Parallel()
	if _, err := serving.Open(t.Context(), "lots", t.TempDir(), nil); err == nil || !strings.Contains(err.Error(), "train one first") {
		t.Errorf("error %v", err)
	}
}

func FuzzPredict(f *testing.F) {
	for _, seed := range []string{`{"instances":[` + row + `]}`, `{"inputs":{"features":[` + row + `]}}`, `{"examples":[{}]}`, `{"instances":[[NaN]]}`} {
		f.Add(seed)
	}
	base, _ := save(f, 1)
	models, err := serving.Open(context.Background(), "lots", base, nil)
	if err != nil {
		f.Fatal(err)
	}
	handler := models.Handler()
	f.Fuzz(func(t *testing.T, body string) {
		for _, verb := range []string{"predict", "classify"} {
			w := httptest.NewRecorder()
			handler.ServeHTTP(w, httptest.NewRequest("POST", "/v1/models/lots:"+verb, strings.NewReader(body)))
			if w.Code != 200 && w.Code != 400 {
				t.Errorf("%s: %d %s", verb, w.Code, w.Body)
			}
			if !json.Valid(w.Body.Bytes()) {
				t.Errorf("%s: no JSON: %s", verb, w.Body)
			}
		}
	})
}

// BenchmarkPredict asks about one row at a time over HTTP and reports the
// 99th percentile.
func BenchmarkPredict(b *testing.B) {
	server, _ := serve(b, 1)
	var times []time.Duration
	for b.Loop() {
		started := time.Now()
		if status, text, _ := do(b, server, "POST", "/v1/models/lots:predict", `{"instances":[`+row+`]}`); status != 200 {
			b.Fatal(text)
		}
		times = append(times, time.Since(started))
	}
	slices.Sort(times)
	b.ReportMetric(float64(times[len(times)*99/100].Microseconds())/1000, "p99-ms")
}
