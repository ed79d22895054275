package slack

import (
	"net/http"
	"time"

	"github.com/svcblocks/svcblocks/notify"
	"github.com/svcblocks/svcblocks/notify/internal/post"
)

// Escape, Cut and StatusError are tested by their properties.
func Escape(s string) string            { return escape(clean(s)) }
func Cut(s string, n int) (string, int) { return cut(s, n) }
func Width(s string) int                { return width(s) }
func StatusError(code int, header, body string) *notify.Error {
	a := post.Answer{Status: code, Header: http.Header{"Retry-After": {header}}, Body: body}
	return statusError(&post.Poster{Service: "Slack"}, "post", a, time.Unix(0, 0))
}
