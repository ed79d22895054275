package web_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"time"

	"github.com/svcblocks/svcblocks/examples/shopwatch/internal/web"
)

func ExampleNewHandler() {
	now := time.Date(2026, time.May, 4, 12, 0, 0, 0, time.UTC)
	handler := web.NewHandler(func(context.Context) web.Page {
		return web.Page{
			Service: web.Service{Name: "shopwatch", Version: "v0.1.0", Started: now.Add(-time.Minute)},
			Now:     now,
			Checks:  []web.Check{{Name: "scrape", State: web.OK, Detail: "Requests leave directly."}},
		}
	}, nil)

	answer := httptest.NewRecorder()
	handler.ServeHTTP(answer, httptest.NewRequest(http.MethodGet, "/", nil))
	fmt.Println(answer.Code, answer.Header().Get("Content-Type"))
	fmt.Println(strings.Contains(answer.Body.String(), "All parts work"))
	// Output:
	// 200 text/html; charset=utf-8
	// true
}
