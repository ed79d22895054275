package web

import (
	"net/http"

	"github.com/svcblocks/svcblocks/examples/shopwatch/internal/relative"
)

// SignIn is what the page for those who are not logged in shows.
type SignIn struct {
	Service    string // shown as the page's title; "service" where empty
	Message    string // what has happened, in a sentence; empty at a first visit
	Trouble    bool   // the message tells of a failure
	Start      string // address that begins a login
	Provider   string // where the reader's account is, for example "id.example"
	EndSession string // the provider's own page for signing out; empty where there is none
}

// SignIn answers with the page for those who are not logged in, and status.
func (h *Handler) SignIn(w http.ResponseWriter, r *http.Request, status int, s SignIn) {
	if s.Service == "" {
		s.Service = "service"
	}
	h.write(w, r, status, "signin", struct {
		SignIn

		Root   string
		Assets map[string]string
	}{s, relative.Root(r.URL.Path), h.names})
}
