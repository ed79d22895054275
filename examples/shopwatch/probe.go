package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/svcblocks/svcblocks/examples/shopwatch/internal/server"
	"github.com/svcblocks/svcblocks/internal/safehttp"
)

// probe asks a running service whether it is ready, for containers that hold
// no other program: 0 if it is.
func probe(ctx context.Context, listen string, stdout, stderr io.Writer) int {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	address := server.BaseURL(listen) + "readyz"

	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		_, _ = fmt.Fprintln(stderr, "service: health check:", err)
		return 1
	}

	res, err := safehttp.NewProbe(5 * time.Second).Do(req)
	if err != nil {
		_, _ = fmt.Fprintln(stderr, "service: health check:", err)
		return 1
	}
	defer func() { _ = res.Body.Close() }()

	body, err := io.ReadAll(io.LimitReader(res.Body, 64<<10))
	if err != nil || res.StatusCode != http.StatusOK {
		_, _ = fmt.Fprintf(stderr, "service: health check: %s answered %s\n%s", address, res.Status, body)
		return 1
	}

	_, _ = fmt.Fprintf(stdout, "%s", body)
	return 0
}
