package server_test

import (
	"context"
	"net"
	"strings"
	"testing"
	"time"
)

// TestShutdownWithSilentConnections: a browser holds connections on which it
// has asked for nothing; they don't make a shutdown late.
func TestShutdownWithSilentConnections(t *testing.T) {
	t.Parallel()
	f := start(t, &fixture{})
	addr := strings.TrimSuffix(strings.TrimPrefix(f.srv.URL(), "http://"), "/")
	for range 3 {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
	}
	// An answer on a later connection: the server has accepted the others.
	if status, _, _ := f.do(t, "GET", "/healthz"); status != 200 {
		t.Fatalf("status %d", status)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	if err := f.srv.Shutdown(ctx); err != nil {
		t.Error(err)
	}
}
