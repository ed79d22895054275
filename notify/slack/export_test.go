package slack

import (
	"net/http"
	"time"

	"github.com/svcblocks/svcblocks/notify"
)

// Escape, Cut and StatusError are tested by their properties.
func Escape(s string) string            { return escape(s) }
func Cut(s string, n int) (string, int) { return cut(s, n) }
func Width(s string) int                { return width(s) }
func StatusError(code int, header, body string) *notify.Error {
	return statusError("post", &http.Response{StatusCode: code, Header: http.Header{"Retry-After": {header}}}, body, time.Unix(0, 0))
}
