package vault

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/svcblocks/svcblocks/config/secret"
	"github.com/svcblocks/svcblocks/internal/safehttp"
)

// Options says where Vault is and how to log in. Exactly one of Token,
// TokenFile, AppRole and Kubernetes is set. The struct can be filled by
// config.Load.
type Options struct {
	// Address is the server, such as "https://vault.internal:8200". Required.
	Address string
	// Namespace is sent as X-Vault-Namespace. Defaults to none.
	Namespace string

	// Token is used as it is, and renewed if it is renewable.
	Token secret.Secret
	// TokenFile is a file that holds a token, as the Vault Agent writes it. It
	// is read again for each request.
	TokenFile string
	// AppRole logs in by role ID and secret ID.
	AppRole AppRole
	// Kubernetes logs in by the service account of the pod.
	Kubernetes Kubernetes

	// Timeout bounds one request. Defaults to 10s; negative is none.
	Timeout time.Duration
	// MaxAttempts is how often a request is made while the server is sealed,
	// busy or unreachable. Defaults to 3; negative is 1.
	MaxAttempts int

	// RedirectHosts are further hosts that may get the token, as "name" or
	// "name:port": a standby redirects to the active node. A redirect to any other
	// host is not followed, and none from https to http.
	RedirectHosts []string `doc:"hosts to which a standby may redirect"`
	// AllowPlainHTTP lets the token travel over http off this machine, where
	// everybody on the way reads it.
	AllowPlainHTTP bool `doc:"send the token in clear over http"`

	// Client makes the requests; its CheckRedirect is not used. Defaults to one
	// with the settings of http.DefaultTransport.
	Client *http.Client
	// Logger gets renewals and logins. Defaults to none.
	Logger *slog.Logger
}

// AppRole holds the credentials of the AppRole auth method.
type AppRole struct {
	// Mount is where the method is mounted. Defaults to "approle".
	Mount string
	// RoleID names the role.
	RoleID string
	// SecretID is its password. May be empty for roles without one.
	SecretID secret.Secret
}

// Kubernetes holds the settings of the Kubernetes auth method.
type Kubernetes struct {
	// Mount is where the method is mounted. Defaults to "kubernetes".
	Mount string
	// Role names the role.
	Role string
	// TokenFile is the service account's token; it is read at each login.
	// Defaults to /var/run/secrets/kubernetes.io/serviceaccount/token.
	TokenFile string
}

const serviceAccountToken = "/var/run/secrets/kubernetes.io/serviceaccount/token" //nolint:gosec // a path

func (o *Options) withDefaults() (Options, error) {
	var out Options
	if o != nil {
		out = *o
	}
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf("vault: new: "+format, args...)) }

	rule := safehttp.Rule{Secret: true, AllowPlain: out.AllowPlainHTTP, OptOut: "AllowPlainHTTP"}
	switch u, err := rule.Parse(out.Address); {
	case out.Address == "":
		bad("Address is empty; want https://host:8200")
	case err != nil:
		bad("Address: %w", err)
	case u.RawQuery != "" || u.Fragment != "":
		bad("Address has more than scheme, host and path")
	}

	out.Address = strings.TrimSuffix(out.Address, "/")
	methods := 0
	for _, set := range []bool{!out.Token.IsZero(), out.TokenFile != "", out.AppRole.RoleID != "", out.Kubernetes.Role != ""} {
		if set {
			methods++
		}
	}

	if methods != 1 {
		bad("%d ways to log in are set, want exactly one of Token, TokenFile, AppRole.RoleID and Kubernetes.Role", methods)
	}
	if strings.ContainsAny(out.Token.Reveal(), "\r\n ") {
		bad("Token holds white space")
	}
	if out.AppRole.Mount == "" {
		out.AppRole.Mount = "approle"
	}

	if out.Kubernetes.Mount == "" {
		out.Kubernetes.Mount = "kubernetes"
	}
	if out.Kubernetes.TokenFile == "" {
		out.Kubernetes.TokenFile = serviceAccountToken
	}

	switch {
	case out.Timeout == 0:
		out.Timeout = 10 * time.Second
	case out.Timeout < 0:
		out.Timeout = 0
	}

	switch {
	case out.MaxAttempts == 0:
		out.MaxAttempts = 3
	case out.MaxAttempts < 0:
		out.MaxAttempts = 1
	}

	if out.Logger == nil {
		out.Logger = slog.New(slog.DiscardHandler)
	}
	out.Logger = out.Logger.With("component", "vault")
	out.Client = safehttp.NewClient(out.Client, safehttp.Redirects{
		Hosts: out.RedirectHosts, Setting: "RedirectHosts", AllowPlain: out.AllowPlainHTTP, Logger: out.Logger,
	})
	return out, errors.Join(errs...)
}
