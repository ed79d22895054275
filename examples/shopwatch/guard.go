package main

import (
	"cmp"
	"log/slog"
	"net/http"

	"github.com/svcblocks/svcblocks/examples/shopwatch/internal/auth"
	"github.com/svcblocks/svcblocks/examples/shopwatch/internal/settings"
	"github.com/svcblocks/svcblocks/examples/shopwatch/internal/status"
	"github.com/svcblocks/svcblocks/examples/shopwatch/internal/trace"
	"github.com/svcblocks/svcblocks/examples/shopwatch/internal/web"
)

// openAuth makes the guard of page and API; nil where no provider is named.
func openAuth(cfg settings.Settings, sources *status.Sources, page *web.Handler, logouts auth.Logouts, logger *slog.Logger) (*auth.Auth, error) {
	if !cfg.Auth.Enabled() {
		if !cfg.ListensLocally() {
			logger.Warn("whoever reaches the address may read everything and start runs; set auth.issuer, or keep it behind a proxy that asks", "listen", cfg.Listen)
		}
		return nil, nil
	}

	return auth.New(auth.Options{
		Config: cfg.Auth, BaseURL: cmp.Or(cfg.Server.PublicURL, sources.Address), Logouts: logouts, Logger: logger,
		// The provider is the operator's own, so a trace may go on there.
		Transport: trace.Transport{Next: http.DefaultTransport.(*http.Transport).Clone()},
		SignIn: func(w http.ResponseWriter, r *http.Request, s auth.SignIn) {
			page.SignIn(w, r, s.Status, web.SignIn{
				Service: sources.Name, Message: s.Message, Trouble: s.Trouble, Start: s.Start, Provider: s.Provider, EndSession: s.EndSession,
			})
		},
	})
}
