package tfserving_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/svcblocks/svcblocks/examples/ml/tfserving"
)

// exchange is a request as the API's reference documents it, and its answer.
type exchange struct {
	method, path, body string
	status             int
	answer             string
}

// server answers one documented request and refuses all others.
func server(t testing.TB, x exchange) *tfserving.Client {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		if r.Method != x.method || r.URL.EscapedPath() != x.path || string(body) != x.body {
			t.Errorf("%s %s %s\nwant %s %s %s", r.Method, r.URL.EscapedPath(), body, x.method, x.path, x.body)
		}
		w.Header().Set("Content-Type", "application/json")
		if x.status != 0 {
			w.WriteHeader(x.status)
		}
		_, _ = io.WriteString(w, x.answer)
	}))
	t.Cleanup(s.Close)
	c, err := tfserving.New(s.URL, &tfserving.Options{HTTPClient: s.Client()})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// The bodies of the reference's section "Predict API", and its example.
func TestPredict(t *testing.T) {
	t.Parallel()
	type m = map[string]any
	half := tfserving.Model{Name: "half_plus_three"}
	for _, tt := range []struct {
		name    string
		model   tfserving.Model
		request tfserving.Request
		exchange
		want any
	}{
		{
			"the example", half,
			tfserving.Request{Instances: []float64{1, 2, 5}},
			exchange{"POST", "/v1/models/half_plus_three:predict", `{"instances":[1.0,2.0,5.0]}`, 0, "{\n    \"predictions\": [3.5, 4.0, 5.5]\n}"},
			[]any{3.5, 4.0, 5.5},
		},
		{
			"scalars of text", half,
			tfserving.Request{Instances: []string{"foo", "bar", "baz"}},
			exchange{"POST", "/v1/models/half_plus_three:predict", `{"instances":["foo","bar","baz"]}`, 0, `{"predictions":[true,false,true]}`},
			[]any{true, false, true},
		},
		{
			"tensors", half,
			tfserving.Request{Instances: [][][]int{{{1, 2}}, {{3, 4}}}},
			exchange{"POST", "/v1/models/half_plus_three:predict", `{"instances":[[[1,2]],[[3,4]]]}`, 0, `{"predictions":[[1],[2]]}`},
			[]any{[]any{int64(1)}, []any{int64(2)}},
		},
		{
			"several inputs in rows",
			tfserving.Model{Name: "m", Version: 123},
			tfserving.Request{Instances: []m{
				{"tag": "foo", "signal": []int{1, 2, 3, 4, 5}, "sensor": [][]int{{1, 2}, {3, 4}}},
				{"tag": "bar", "signal": []int{3, 4, 1, 2, 5}, "sensor": [][]int{{4, 5}, {6, 8}}},
			}},
			exchange{
				"POST", "/v1/models/m/versions/123:predict",
				`{"instances":[{"sensor":[[1,2],[3,4]],"signal":[1,2,3,4,5],"tag":"foo"},{"sensor":[[4,5],[6,8]],"signal":[3,4,1,2,5],"tag":"bar"}]}`, 0,
				`{"predictions":[{"a":1,"b":"x"},{"a":2,"b":"y"}]}`,
			},
			[]any{m{"a": int64(1), "b": "x"}, m{"a": int64(2), "b": "y"}},
		},
		{
			"several inputs in columns",
			tfserving.Model{Name: "m", Label: "stable"},
			tfserving.Request{Signature: "s", Inputs: m{
				"tag": []string{"foo", "bar"}, "signal": [][]int{{1, 2, 3, 4, 5}, {3, 4, 1, 2, 5}}, "sensor": [][][]int{{{1, 2}, {3, 4}}, {{4, 5}, {6, 8}}},
			}},
			exchange{
				"POST", "/v1/models/m/labels/stable:predict",
				`{"inputs":{"sensor":[[[1,2],[3,4]],[[4,5],[6,8]]],"signal":[[1,2,3,4,5],[3,4,1,2,5]],"tag":["foo","bar"]},"signature_name":"s"}`, 0,
				`{"outputs":{"a":[1.5,2.5]}}`,
			},
			m{"a": []any{1.5, 2.5}},
		},
		{
			"not finite, both ways", half,
			tfserving.Request{Instances: [][]float64{{1, -3.14, math.NaN(), math.Inf(1), math.Inf(-1)}}},
			exchange{
				"POST", "/v1/models/half_plus_three:predict", `{"instances":[[1.0,-3.14,NaN,Infinity,-Infinity]]}`, 0,
				`{"predictions": [NaN, -Infinity, Infinity, "NaN \" Infinity", 1e3]}`,
			},
			[]any{math.NaN(), math.Inf(-1), math.Inf(1), `NaN " Infinity`, 1e3},
		},
		{
			"bytes, both ways", half,
			tfserving.Request{Instances: []m{{"image": []byte("image bytes")}}},
			exchange{
				"POST", "/v1/models/half_plus_three:predict", `{"instances":[{"image":{"b64":"aW1hZ2UgYnl0ZXM="}}]}`, 0,
				`{"predictions":[{"out_bytes":{"b64":"YXdlc29tZSBpbWFnZSBieXRlcw=="}}]}`,
			},
			[]any{m{"out_bytes": []byte("awesome image bytes")}},
		},
		{
			"32 bits stay short", half,
			tfserving.Request{Inputs: []float32{0.1}},
			exchange{"POST", "/v1/models/half_plus_three:predict", `{"inputs":[0.1]}`, 0, `{"outputs":[9007199254740993]}`},
			[]any{int64(9007199254740993)},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got, err := server(t, tt.exchange).Predict(t.Context(), tt.model, tt.request)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got, cmpopts.EquateNaNs()); diff != "" {
				t.Errorf("answer (-want +got):\n%s", diff)
			}
		})
	}
}

// The body of the reference's section "Encoding binary values". It documents
// the answer's key as "result" and shows "results": both are read.
func TestClassify(t *testing.T) {
	t.Parallel()
	for _, key := range []string{"result", "results"} {
		c := server(t, exchange{
			"POST", "/v1/models/m:classify",
			`{"examples":[{"caption":"seaside","image":{"b64":"aW1hZ2UgYnl0ZXM="}},{"caption":"mountains","image":{"b64":"YXdlc29tZSBpbWFnZSBieXRlcw=="}}],"signature_name":"classify_objects"}`,
			0, `{"` + key + `":[[["sea",0.75],["",0.25]],[["hill",1]]]}`,
		})
		got, err := c.Classify(t.Context(), tfserving.Model{Name: "m"}, tfserving.Examples{
			Signature: "classify_objects",
			Examples: []map[string]any{
				{"image": []byte("image bytes"), "caption": "seaside"}, {"image": []byte("awesome image bytes"), "caption": "mountains"},
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([][]tfserving.Score{{{"sea", 0.75}, {"", 0.25}}, {{"hill", 1}}}, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", key, diff)
		}
	}
}

func TestRegress(t *testing.T) {
	t.Parallel()
	c := server(t, exchange{
		"POST", "/v1/models/half_plus_three:regress",
		`{"context":{"y":"z"},"examples":[{"x":1.0},{"x":2.0}],"signature_name":"tensorflow/serving/regress"}`, 0, `{"results": [3.5, 4.0]}`,
	})
	got, err := c.Regress(t.Context(), tfserving.Model{Name: "half_plus_three"}, tfserving.Examples{
		Signature: "tensorflow/serving/regress", Context: map[string]any{"y": "z"}, Examples: []map[string]any{{"x": 1.0}, {"x": 2.0}},
	})
	if diff := cmp.Diff([]float64{3.5, 4}, got); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
}

func TestStatus(t *testing.T) {
	t.Parallel()
	c := server(t, exchange{"GET", "/v1/models/half_plus_three", "", 0, `{
 "model_version_status": [
  {
   "version": "123",
   "state": "AVAILABLE",
   "status": {
    "error_code": "OK",
    "error_message": ""
   }
  }
 ]
}`})
	got, err := c.Status(t.Context(), tfserving.Model{Name: "half_plus_three"})
	if diff := cmp.Diff([]tfserving.VersionStatus{{Version: 123, State: "AVAILABLE", Code: "OK"}}, got); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
}

func TestMetadata(t *testing.T) {
	t.Parallel()
	c := server(t, exchange{"GET", "/v1/models/m/versions/1/metadata", "", 0, `{"model_spec":{"name":"m","signature_name":"","version":"1"},"metadata":{}}`})
	got, err := c.Metadata(t.Context(), tfserving.Model{Name: "m", Version: 1})
	want := map[string]any{"model_spec": map[string]any{"name": "m", "signature_name": "", "version": "1"}, "metadata": map[string]any{}}
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
}

func TestServerErrors(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name      string
		status    int
		answer    string
		want      string
		temporary bool
	}{
		{"the documented one", 404, `{ "error": "Servable not found for request: Latest(half)" }`, "Servable not found for request: Latest(half)", false},
		{"with a good status", 200, `{"error":"odd"}`, "odd", false},
		{"without a text", 503, "", "Service Unavailable", true},
		{"of a proxy", 502, "<html>", "Bad Gateway", true},
		{"too many", 429, `{"error":"slow down"}`, "slow down", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c := server(t, exchange{"POST", "/v1/models/half:predict", `{"instances":[1.0,5.0]}`, tt.status, tt.answer})
			_, err := c.Predict(t.Context(), tfserving.Model{Name: "half"}, tfserving.Request{Instances: []float64{1, 5}})
			got, ok := errors.AsType[*tfserving.Error](err)
			if !ok || got.Status != tt.status || got.Temporary() != tt.temporary || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want status %d, %q, temporary %v", err, tt.status, tt.want, tt.temporary)
			}
		})
	}
}

func TestUnexpectedAnswers(t *testing.T) {
	t.Parallel()
	for _, answer := range []string{``, `x`, `[]`, `{}`, `{"outputs":1}`, `{"predictions":[1]} {}`, `{"predictions":[{"b64":"?"}]}`, `{"predictions":1e999}`} {
		c := server(t, exchange{"POST", "/v1/models/m:predict", `{"instances":[1]}`, 0, answer})
		_, err := c.Predict(t.Context(), tfserving.Model{Name: "m"}, tfserving.Request{Instances: []int{1}})
		if !errors.Is(err, tfserving.ErrUnexpected) {
			t.Errorf("%q: error %v, want ErrUnexpected", answer, err)
		}
	}
	c := server(t, exchange{"POST", "/v1/models/m:classify", `{"examples":[{"x":1}]}`, 0, `{"results":[[["a"]]]}`})
	if _, err := c.Classify(t.Context(), tfserving.Model{Name: "m"}, tfserving.Examples{Examples: []map[string]any{{"x": 1}}}); !errors.Is(err, tfserving.ErrUnexpected) {
		t.Errorf("a pair of one: %v", err)
	}
}

// What cannot be sent is refused before anything is sent.
func TestRequestErrors(t *testing.T) {
	t.Parallel()
	c, err := tfserving.New("http://127.0.0.1:1", nil)
	if err != nil {
		t.Fatal(err)
	}
	loop := map[string]any{}
	loop["self"] = loop
	for _, tt := range []struct {
		name    string
		model   tfserving.Model
		request tfserving.Request
		want    string
	}{
		{"no model", tfserving.Model{}, tfserving.Request{Instances: 1}, "no name"},
		{"version and label", tfserving.Model{Name: "m", Version: 1, Label: "x"}, tfserving.Request{Instances: 1}, "give one"},
		{"a negative version", tfserving.Model{Name: "m", Version: -1}, tfserving.Request{Instances: 1}, "version -1"},
		{"nothing", tfserving.Model{Name: "m"}, tfserving.Request{}, "either"},
		{"both", tfserving.Model{Name: "m"}, tfserving.Request{Instances: 1, Inputs: 1}, "either"},
		{"a function", tfserving.Model{Name: "m"}, tfserving.Request{Instances: []any{func() {}}}, "func()"},
		{"a nil", tfserving.Model{Name: "m"}, tfserving.Request{Instances: []any{nil}}, "nil"},
		{"a map by numbers", tfserving.Model{Name: "m"}, tfserving.Request{Inputs: map[int]int{1: 1}}, "keys"},
		{"itself", tfserving.Model{Name: "m"}, tfserving.Request{Inputs: loop}, "nested"},
	} {
		_, err := c.Predict(t.Context(), tt.model, tt.request)
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: error %v, want one with %q", tt.name, err, tt.want)
		}
	}
	for _, base := range []string{"", "127.0.0.1:8501", "ftp://x", "http://", "http://x?y", "http://u:hunter2@x\x7f"} {
		if _, err := tfserving.New(base, nil); err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("New(%q): %v", base, err)
		}
	}
}

func TestNamesAndPaths(t *testing.T) {
	t.Parallel()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if want := "/prefix/v1/models/a%2Fb%20c"; r.URL.EscapedPath() != want {
			t.Errorf("path %s, want %s", r.URL.EscapedPath(), want)
		}
		_, _ = io.WriteString(w, `{"model_version_status":[]}`)
	}))
	defer s.Close()
	c, err := tfserving.New(s.URL+"/prefix/", nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Status(t.Context(), tfserving.Model{Name: "a/b c"}); err != nil {
		t.Error(err)
	}
}

func TestBoundsAndContext(t *testing.T) {
	t.Parallel()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, `{"predictions":[`+strings.Repeat("1,", 1000)+`1]}`)
	}))
	defer s.Close()
	c, err := tfserving.New(s.URL, &tfserving.Options{MaxBytes: 100})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Predict(t.Context(), tfserving.Model{Name: "m"}, tfserving.Request{Instances: 1}); err == nil || !strings.Contains(err.Error(), "larger than 100 bytes") {
		t.Errorf("error %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.Status(ctx, tfserving.Model{Name: "m"}); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want context.Canceled", err)
	}
}

func TestFloatsAndMatrix(t *testing.T) {
	t.Parallel()
	if got, err := tfserving.Matrix([]any{[]any{int64(1), 2.5}}); err != nil || !cmp.Equal(got, [][]float64{{1, 2.5}}) {
		t.Errorf("%v, %v", got, err)
	}
	for _, bad := range []any{nil, 1, []any{1, "x"}, []any{[]any{true}}} {
		if _, err := tfserving.Matrix(bad); err == nil {
			t.Errorf("Matrix(%v) gave no error", bad)
		}
	}
}

func ExampleClient_Predict() {
	// In place of `tensorflow_model_server --rest_api_port=8501 --model_name=half_plus_three …`.
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, `{"predictions": [3.5, 4.0, 5.5]}`)
	}))
	defer server.Close()

	client, err := tfserving.New(server.URL, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	answer, err := client.Predict(context.Background(), tfserving.Model{Name: "half_plus_three"}, tfserving.Request{Instances: []float64{1, 2, 5}})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(tfserving.Floats(answer))
	// Output: [3.5 4 5.5] <nil>
}

func FuzzDecode(f *testing.F) {
	for _, seed := range []string{`{"predictions":[NaN,-Infinity]}`, `{"predictions":["\"NaN"]}`, `{"predictions":{"b64":"YQ=="}}`, `{"error":"NaN"}`, `"`, `{"predictions":"\`} {
		f.Add(seed)
	}
	var answer string
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, answer) }))
	f.Cleanup(s.Close)
	c, err := tfserving.New(s.URL, &tfserving.Options{HTTPClient: s.Client()})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, text string) {
		answer = text
		value, err := c.Predict(context.Background(), tfserving.Model{Name: "m"}, tfserving.Request{Instances: 1})
		if err == nil && value == nil && !strings.Contains(text, "null") {
			t.Errorf("%q: neither value nor error", text)
		}
	})
}
