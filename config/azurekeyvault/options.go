package azurekeyvault

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/svcblocks/svcblocks/config/secret"
	"github.com/svcblocks/svcblocks/internal/backoff"
	"github.com/svcblocks/svcblocks/internal/options"
	"github.com/svcblocks/svcblocks/internal/safehttp"
)

// TokenFunc returns an access token for a resource, such as
// "https://vault.azure.net", and when it expires. It is called when a token is
// needed, by one goroutine at a time.
type TokenFunc func(ctx context.Context, resource string) (token string, expires time.Time, err error)

// Options says which vault to read and how to log in.
type Options struct {
	// VaultURL is the vault, such as "https://team.vault.azure.net". Required.
	VaultURL string `doc:"vault, such as https://team.vault.azure.net"`
	// Token gets access tokens. Defaults to the managed identity.
	Token TokenFunc `koanf:"-"`
	// TokenFile is a file that holds an access token, for a sidecar that renews
	// it. It is read again whenever a token is needed; set at most one of both.
	TokenFile string `doc:"file that holds an access token"`

	// ClientID chooses a user-assigned managed identity. Defaults to the
	// system-assigned one.
	ClientID string `doc:"user-assigned managed identity"`
	// IdentityEndpoint is where the managed identity gives tokens. Defaults to
	// the variable IDENTITY_ENDPOINT, as in App Service and Container Apps, else
	// to the instance metadata service of virtual machines.
	IdentityEndpoint string `doc:"where the managed identity gives tokens"`
	// IdentityHeader is the secret that goes with IdentityEndpoint. Defaults to
	// the variable IDENTITY_HEADER.
	IdentityHeader secret.Secret `doc:"secret of the identity endpoint"`

	// Timeout bounds one request. Defaults to 10s; negative is none.
	Timeout time.Duration `default:"10s" zero:"default" doc:"bound of one try; negative is none"`
	// Retry says how a request is made again while the service cannot answer.
	Retry Retry `doc:"how a request is made again"`

	// Client makes the requests; its CheckRedirect is not used, as the service
	// does not redirect. Defaults to one with the settings of
	// http.DefaultTransport.
	Client *http.Client `koanf:"-"`
	// Logger gets logins. Defaults to none.
	Logger *slog.Logger `koanf:"-"`
}

// Retry says how a request is made again while the service is busy or
// unreachable.
type Retry struct {
	// Attempts bounds the tries, the first one included. Defaults to 3; -1 for no
	// limit.
	Attempts int `koanf:"attempts" default:"3" zero:"default" doc:"tries of a request, the first included"`
	// Base bounds the wait after the first failure, which doubles with each.
	// Defaults to 400ms.
	Base time.Duration `koanf:"base" default:"400ms" zero:"default" doc:"wait after the first failure, at most"`
	// Max bounds every wait, also what the server asks for. Defaults to 5s.
	Max time.Duration `koanf:"max" default:"5s" zero:"default" doc:"wait after any failure, at most"`
	// MaxElapsed bounds the time from the first try to the last. Defaults to 30s;
	// negative for no limit.
	MaxElapsed time.Duration `koanf:"max_elapsed" default:"30s" zero:"default" doc:"time for all tries of a request"`
}

const metadataService = "http://169.254.169.254/metadata/identity/oauth2/token"

func (o *Options) withDefaults() (Options, error) {
	var out Options
	if o != nil {
		out = *o
	}
	var errs []error
	bad := func(format string, args ...any) {
		errs = append(errs, fmt.Errorf("azurekeyvault: new: "+format, args...))
	}

	switch u, err := (safehttp.Rule{}).Parse(out.VaultURL); {
	case out.VaultURL == "":
		bad("VaultURL is empty; want https://<name>.vault.azure.net")
	case err != nil || u.Scheme != "https":
		bad("VaultURL is no https URL with a host")
	case u.RawQuery != "" || u.Fragment != "" || strings.Trim(u.Path, "/") != "":
		bad("VaultURL has more than scheme and host")
	}

	out.VaultURL = strings.TrimSuffix(out.VaultURL, "/")
	if out.IdentityEndpoint == "" && out.IdentityHeader.IsZero() {
		out.IdentityEndpoint, out.IdentityHeader = os.Getenv("IDENTITY_ENDPOINT"), secret.New(os.Getenv("IDENTITY_HEADER"))
	}

	if out.IdentityEndpoint != "" {
		if u, err := url.Parse(out.IdentityEndpoint); err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
			bad("IdentityEndpoint is no http or https URL with a host")
		}
	}

	options.Fill(&out)
	for _, wrong := range backoff.Retry(out.Retry).Check("Retry") {
		bad("%w", wrong)
	}
	if out.Token != nil && out.TokenFile != "" {
		bad("Token and TokenFile are set, want one of them")
	}

	if out.Logger == nil {
		out.Logger = slog.New(slog.DiscardHandler)
	}

	out.Logger = out.Logger.With("component", "azurekeyvault")
	out.Client = safehttp.NewClient(out.Client, safehttp.Redirects{Max: -1})
	return out, errors.Join(errs...)
}
