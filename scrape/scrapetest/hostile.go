package scrapetest

import (
	"compress/gzip"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"
)

// Hostile returns a site whose pages are what a scraper must survive:
//
//	/page            a page
//	/announced       1 GiB by its Content-Length
//	/endless         a body without end
//	/bomb            64 MiB of zeros in 65 KB of gzip
//	/drip            a byte every 50 ms, without end
//	/hang            no answer
//	/headers         100,000 header lines
//	/garbage         no HTTP at all
//	/cut             half of the body that was announced
//	/not-gzip        a body that is not what its Content-Encoding says
//	/loop            a redirect to itself
//	/inside          a redirect to 169.254.169.254
//	/scheme          a redirect to file:///etc/passwd
//	/later           503, and Retry-After of thirty years
//	/banned          a page that says "access denied", with status 200
//	/private/        forbidden by its robots.txt
//
// Each ends when its request does.
func Hostile() http.Handler {
	mux, zeros := http.NewServeMux(), bomb()
	page := func(path string, f http.HandlerFunc) { mux.HandleFunc(path, f) }
	page("/robots.txt", text("User-agent: *\nDisallow: /private/\n"))
	page("/page", text("a page"))
	page("/private/", text("a private page"))
	page("/banned", text("access denied"))
	page("/announced", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "1073741824")
		pour(w, r)
	})

	page("/endless", pour)
	page("/bomb", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Encoding", "gzip")
		_, _ = w.Write(zeros) // the client may have enough
	})

	page("/drip", func(w http.ResponseWriter, r *http.Request) {
		tick := time.NewTicker(50 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				_, _ = io.WriteString(w, ".") // the client may have enough
				_ = http.NewResponseController(w).Flush()
			case <-r.Context().Done():
				return
			}
		}
	})

	page("/hang", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	page("/headers", func(w http.ResponseWriter, _ *http.Request) {
		for i := range 100_000 {
			w.Header().Add("X-Line", fmt.Sprint(i))
		}
	})

	page("/garbage", raw("\x00\x01\x02 this is no HTTP\r\n\r\n"))
	page("/cut", raw("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this"))
	page("/not-gzip", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Encoding", "gzip")
		_, _ = io.WriteString(w, "this is no gzip") // the client may have enough
	})
	page("/loop", redirect("/loop"))

	page("/inside", redirect("http://169.254.169.254/latest/meta-data/"))
	page("/scheme", redirect("file:///etc/passwd"))
	page("/later", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", "1000000000")
		w.WriteHeader(http.StatusServiceUnavailable)
	})
	return mux
}

func text(body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, body) } // the client may be gone
}

func redirect(to string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Location", to)
		w.WriteHeader(http.StatusFound)
	}
}

// raw answers with bytes of its own and closes the connection.
func raw(answer string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil { // HTTP/2 has no connection to give
			w.WriteHeader(http.StatusInternalServerError)
			return
		}
		_, _ = io.WriteString(conn, answer) // the client may be gone
		_ = conn.Close()
	}
}

// pour writes until the client has enough.
func pour(w http.ResponseWriter, r *http.Request) {
	block := make([]byte, 32<<10)
	for r.Context().Err() == nil {
		if _, err := w.Write(block); err != nil {
			return
		}
	}
}

// bomb returns 64 MiB of zeros, compressed.
var bomb = sync.OnceValue(func() []byte {
	var out strings.Builder
	w := gzip.NewWriter(&out)
	block := make([]byte, 1<<20)
	for range 64 {
		_, _ = w.Write(block) // into memory: cannot fail
	}
	_ = w.Close() // as above
	return []byte(out.String())
})
