// Package relative writes addresses of the service relative to the one that was
// asked for. They work behind a proxy that puts the service below a path of its
// own, such as /watch/, and takes that away before it asks.
package relative

import (
	"net/http"
	"strings"
)

// Root is the way from path to the root of the service, "./" or "../" and so on.
func Root(path string) string {
	if up := strings.Count(path, "/") - 1; up > 0 {
		return strings.Repeat("../", up)
	}
	return "./"
}

// Redirect sends a browser to target, as seen from the root, by a GET. Unlike
// [http.Redirect] it leaves the address relative (RFC 9110 §10.2.2).
func Redirect(w http.ResponseWriter, r *http.Request, target string) {
	w.Header().Set("Location", Root(r.URL.Path)+target)
	w.WriteHeader(http.StatusSeeOther)
}
