// Command step1 takes its settings from config: the same variables, a file
// beside them, and mistakes that are told rather than passed over.
package main

import (
	"context"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/svcblocks/svcblocks/config"
)

type settings struct {
	Listen   string        `required:"true" doc:"address to serve at"`
	Timeout  time.Duration `min:"100ms" max:"1m" doc:"for one page"`
	MaxBytes int64         `min:"1024" doc:"of a page that are looked at"`
}

var defaults = settings{Listen: "127.0.0.1:8090", Timeout: 10 * time.Second, MaxBytes: 1 << 20}

func main() {
	ctx := context.Background()
	layers := []config.Option{config.File("title.yaml", config.Optional()), config.Env("TITLE")}
	if len(os.Args) > 1 && os.Args[1] == "config" {
		os.Exit(config.Main(ctx, defaults, os.Args[2:], layers...))
	}
	store, err := config.Load(ctx, defaults, layers...)
	if err != nil {
		log.Fatal(err)
	}
	cfg := store.Get()

	client := &http.Client{Timeout: cfg.Timeout}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /title", func(w http.ResponseWriter, r *http.Request) {
		address := r.URL.Query().Get("url")
		if address == "" {
			http.Error(w, "which page? /title?url=…", http.StatusBadRequest)
			return
		}
		text, err := title(r.Context(), client, address, cfg.MaxBytes)
		if err != nil {
			log.Printf("title of %s: %v", address, err)
			http.Error(w, "the page cannot be read", http.StatusBadGateway)
			return
		}
		log.Printf("title of %s: %s", address, text)
		fmt.Fprintln(w, text)
	})

	l, err := net.Listen("tcp", cfg.Listen)
	if err != nil {
		log.Fatal(err)
	}
	log.Printf("listening at http://%s/title?url=", l.Addr())
	log.Fatal(http.Serve(l, mux))
}
