// Command step0 is a service as many are: it tells the titles of pages.
package main

import (
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"strconv"
	"time"
)

func main() {
	listen := os.Getenv("TITLE_LISTEN")
	if listen == "" {
		listen = "127.0.0.1:8090"
	}
	timeout, err := time.ParseDuration(os.Getenv("TITLE_TIMEOUT"))
	if err != nil {
		timeout = 10 * time.Second
	}
	maxBytes, err := strconv.ParseInt(os.Getenv("TITLE_MAX_BYTES"), 10, 64)
	if err != nil {
		maxBytes = 1 << 20
	}

	client := &http.Client{Timeout: timeout}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /title", func(w http.ResponseWriter, r *http.Request) {
		address := r.URL.Query().Get("url")
		if address == "" {
			http.Error(w, "which page? /title?url=…", http.StatusBadRequest)
			return
		}
		text, err := title(r.Context(), client, address, maxBytes)
		if err != nil {
			log.Printf("title of %s: %v", address, err)
			http.Error(w, "the page cannot be read", http.StatusBadGateway)
			return
		}
		log.Printf("title of %s: %s", address, text)
		fmt.Fprintln(w, text)
	})

	l, err := net.Listen("tcp", listen)
	if err != nil {
		log.Fatal(err)
	}
	log.Printf("listening at http://%s/title?url=", l.Addr())
	log.Fatal(http.Serve(l, mux))
}
