package httpjson_test

import (
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	"github.com/svcblocks/svcblocks/logging"
	"github.com/svcblocks/svcblocks/logging/sink"
	"github.com/svcblocks/svcblocks/logging/sink/httpjson"
)

func newServer(t *testing.T, got func(*http.Request, []byte)) *httptest.Server {
	s := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		got(r, body(t, r))
	}))
	t.Cleanup(func() { s.CloseClientConnections(); s.Close() })
	return s
}

// body reads the body of r.
func body(t *testing.T, r *http.Request) []byte {
	in := io.Reader(r.Body)
	if r.Header.Get("Content-Encoding") == "gzip" {
		z, err := gzip.NewReader(in)
		if err != nil {
			t.Error(err)
			return nil
		}
		in = z
	}
	b, err := io.ReadAll(in)
	if err != nil {
		t.Error(err)
	}
	return b
}

func ExampleSink() {
	receiver := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		fmt.Println(r.Method, r.URL.Path, r.Header.Get("Content-Type"))
	}))
	defer receiver.Close()
	dir, err := os.MkdirTemp("", "log")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)

	sink, err := httpjson.New(&httpjson.Options{URL: receiver.URL + "/ingest", HTTP: sink.HTTP{Client: receiver.Client()}})
	if err != nil {
		panic(err)
	}
	logs, err := logging.New(&logging.Options{File: logging.FileOptions{Path: filepath.Join(dir, "app.log")}, Sink: sink})
	if err != nil {
		panic(err)
	}
	defer logs.Close()
	logs.Logger("orders").Info("order placed", "id", 42)
	res, err := logs.SendBulk(context.Background())
	fmt.Println(res.Events, "event shipped, error:", err)
	// Output:
	// POST /ingest application/x-ndjson
	// 1 event shipped, error: <nil>
}

func ExampleOptions() {
	_, err := httpjson.New(&httpjson.Options{URL: "logs.example.com", MaxEventBytes: -1})
	fmt.Println(err)
	// Output:
	// httpjson: new: MaxEventBytes: -1 is below 0: use 0 for no limit
	// httpjson: new: URL: scheme "" is neither http nor https
}
