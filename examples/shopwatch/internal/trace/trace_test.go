package trace_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/svcblocks/svcblocks/examples/shopwatch/internal/trace"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	traceID = "4bf92f3577b34da6a3ce929d0e0e4736"
	header  = "00-" + traceID + "-00f067aa0ba902b7-01"
)

var parsed = map[string]string{ // header to what is written again; "" is not valid
	header:                                   header,
	"00-" + traceID + "-00f067aa0ba902b7-00": "00-" + traceID + "-00f067aa0ba902b7-00",
	"00-" + traceID + "-00f067aa0ba902b7-ff": header, // flags that mean nothing yet
	"cc-" + traceID + "-00f067aa0ba902b7-01": header, // a later version
	"cc-" + traceID + "-00f067aa0ba902b7-01-what the future brings": header,
	"cc-" + traceID + "-00f067aa0ba902b7-01.what the future brings": "",
	"00-" + traceID + "-00f067aa0ba902b7-01-x":                      "",
	"ff-" + traceID + "-00f067aa0ba902b7-01":                        "",
	"00-" + strings.ToUpper(traceID) + "-00f067aa0ba902b7-01":       "",
	"00-00000000000000000000000000000000-00f067aa0ba902b7-01":       "",
	"00-" + traceID + "-0000000000000000-01":                        "",
	"00-" + traceID + "-00f067aa0ba902b7":                           "",
	"00_" + traceID + "-00f067aa0ba902b7-01":                        "",
	"00-" + traceID + "-00f067aa0ba902b7-0g":                        "",
	"":                                                              "",
}

func TestParse(t *testing.T) {
	t.Parallel()
	for in, want := range parsed {
		c, ok := trace.Parse(in)
		if c.String() != want || ok != (want != "") || c.IsZero() != (want == "") {
			t.Errorf("Parse(%q) = %q, %t, want %q", in, c, ok, want)
		}
	}
}

func FuzzParse(f *testing.F) {
	for in := range parsed {
		f.Add(in)
	}
	f.Fuzz(func(t *testing.T, in string) {
		c, ok := trace.Parse(in)
		if !ok {
			return
		}
		if again, ok := trace.Parse(c.String()); !ok || again != c {
			t.Errorf("%q became %q and then %q", in, c, again)
		}
	})
}

func TestFromRequest(t *testing.T) {
	t.Parallel()
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	if c := trace.FromRequest(r); c.IsZero() || c.TraceID() == trace.FromRequest(r).TraceID() {
		t.Errorf("without a header: %q", c)
	}
	r.Header.Set(trace.Header, header)
	if c := trace.FromRequest(r); c.TraceID() != traceID || c.String() == header {
		t.Errorf("with a header: %q, want a child of it", c)
	}
	r.Header.Add(trace.Header, header)
	if c := trace.FromRequest(r); c.TraceID() == traceID {
		t.Error("one of two headers was taken")
	}
}

func TestTransport(t *testing.T) {
	t.Parallel()
	var got []string
	s := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { got = append(got, r.Header.Get(trace.Header)) }))
	defer s.Close()
	client := &http.Client{Transport: trace.Transport{Next: s.Client().Transport}}
	parent, _ := trace.Parse(header)
	for _, ctx := range []trace.Context{{}, parent} {
		req, err := http.NewRequestWithContext(trace.With(t.Context(), ctx), http.MethodGet, s.URL, nil)
		if err != nil {
			t.Fatal(err)
		}
		res, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
		if len(req.Header) != 0 {
			t.Errorf("the caller's request was changed: %v", req.Header)
		}
	}
	if got[0] != "" {
		t.Errorf("a header without a trace: %q", got[0])
	}
	if c, ok := trace.Parse(got[1]); !ok || c.TraceID() != traceID || got[1] == header {
		t.Errorf("header = %q, want a child of %q", got[1], header)
	}
}
