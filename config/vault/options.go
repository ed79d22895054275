package vault

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/svcblocks/svcblocks/config/secret"
	"github.com/svcblocks/svcblocks/internal/backoff"
	"github.com/svcblocks/svcblocks/internal/options"
	"github.com/svcblocks/svcblocks/internal/safehttp"
)

// Options says where Vault is and how to log in. Exactly one of Token,
// TokenFile, AppRole and Kubernetes is set. The struct can be filled by
// config.Load.
type Options struct {
	// Address is the server, such as "https://vault.internal:8200". Required.
	Address string `doc:"server, such as https://vault.internal:8200"`
	// Namespace is sent as X-Vault-Namespace. Defaults to none.
	Namespace string `doc:"namespace of Vault Enterprise"`

	// Token is used as it is, and renewed if it is renewable.
	Token secret.Secret `doc:"token that is used as it is"`
	// TokenFile is a file that holds a token, as the Vault Agent writes it. It
	// is read again for each request.
	TokenFile string `doc:"file that holds a token"`
	// AppRole logs in by role ID and secret ID.
	AppRole AppRole `doc:"log in by role ID and secret ID"`
	// Kubernetes logs in by the service account of the pod.
	Kubernetes Kubernetes `doc:"log in by the service account of the pod"`

	// Timeout bounds one request. Defaults to 10s; negative is none.
	Timeout time.Duration `default:"10s" zero:"default" doc:"bound of one try; negative is none"`
	// Retry says how a request is made again while the server cannot answer.
	Retry Retry `doc:"how a request is made again"`

	// RedirectHosts are further hosts that may get the token, as "name" or
	// "name:port": a standby redirects to the active node. A redirect to any other
	// host is not followed, and none from https to http.
	RedirectHosts []string `doc:"hosts to which a standby may redirect"`
	// AllowPlainHTTP lets the token travel over http off this machine, where
	// everybody on the way reads it.
	AllowPlainHTTP bool `doc:"send the token in clear over http"`

	// Client makes the requests; its CheckRedirect is not used. Defaults to one
	// with the settings of http.DefaultTransport.
	Client *http.Client `koanf:"-"`
	// Logger gets renewals and logins. Defaults to none.
	Logger *slog.Logger `koanf:"-"`
}

// Retry says how a request is made again while the server is busy or
// unreachable.
type Retry struct {
	// Attempts bounds the tries, the first one included. Defaults to 3; -1 for no
	// limit.
	Attempts int `koanf:"attempts" default:"3" zero:"default" doc:"tries of a request, the first included"`
	// Base bounds the wait after the first failure, which doubles with each.
	// Defaults to 200ms.
	Base time.Duration `koanf:"base" default:"200ms" zero:"default" doc:"wait after the first failure, at most"`
	// Max bounds every wait, also what the server asks for. Defaults to 3s.
	Max time.Duration `koanf:"max" default:"3s" zero:"default" doc:"wait after any failure, at most"`
	// MaxElapsed bounds the time from the first try to the last. Defaults to 30s;
	// negative for no limit.
	MaxElapsed time.Duration `koanf:"max_elapsed" default:"30s" zero:"default" doc:"time for all tries of a request"`
}

// AppRole holds the credentials of the AppRole auth method.
type AppRole struct {
	// Mount is where the method is mounted. Defaults to "approle".
	Mount string `default:"approle" zero:"default" doc:"where the method is mounted"`
	// RoleID names the role.
	RoleID string `doc:"name of the role"`
	// SecretID is its password. May be empty for roles without one.
	SecretID secret.Secret `doc:"password of the role"`
}

// Kubernetes holds the settings of the Kubernetes auth method.
type Kubernetes struct {
	// Mount is where the method is mounted. Defaults to "kubernetes".
	Mount string `default:"kubernetes" zero:"default" doc:"where the method is mounted"`
	// Role names the role.
	Role string `doc:"name of the role"`
	// TokenFile is the service account's token; it is read at each login.
	// Defaults to /var/run/secrets/kubernetes.io/serviceaccount/token.
	TokenFile string `default:"/var/run/secrets/kubernetes.io/serviceaccount/token" zero:"default" doc:"service account's token"`
}

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

	options.Fill(&out)
	for _, wrong := range backoff.Retry(out.Retry).Check("Retry") {
		bad("%w", wrong)
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
