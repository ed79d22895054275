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
)

// TokenFunc returns an access token for a resource, such as
// "https://vault.azure.net", and when it expires. It is called when a token is
// needed, by one goroutine at a time.
type TokenFunc func(ctx context.Context, resource string) (token string, expires time.Time, err error)

// Options says which vault to read and how to log in.
type Options struct {
	// VaultURL is the vault, such as "https://team.vault.azure.net". Required.
	VaultURL string
	// Token gets access tokens. Defaults to the managed identity.
	Token TokenFunc

	// ClientID chooses a user-assigned managed identity. Defaults to the
	// system-assigned one.
	ClientID string
	// IdentityEndpoint is where the managed identity gives tokens. Defaults to
	// the variable IDENTITY_ENDPOINT, as in App Service and Container Apps, else
	// to the instance metadata service of virtual machines.
	IdentityEndpoint string
	// IdentityHeader is the secret that goes with IdentityEndpoint. Defaults to
	// the variable IDENTITY_HEADER.
	IdentityHeader secret.Secret

	// Timeout bounds one request. Defaults to 10s; negative is none.
	Timeout time.Duration
	// MaxAttempts is how often a request is made while the service is busy or
	// unreachable. Defaults to 3; negative is 1.
	MaxAttempts int

	// Client makes the requests; its CheckRedirect is not used, as the service
	// does not redirect. Defaults to one with the settings of
	// http.DefaultTransport.
	Client *http.Client
	// Logger gets logins. Defaults to none.
	Logger *slog.Logger
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

	u, err := url.Parse(out.VaultURL)
	switch {
	case out.VaultURL == "":
		bad("VaultURL is empty; want https://<name>.vault.azure.net")
	case err != nil || u.Host == "" || u.Scheme != "https":
		bad("VaultURL is no https URL with a host")
	case u.User != nil || u.RawQuery != "" || u.Fragment != "" || strings.Trim(u.Path, "/") != "":
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

	client := http.Client{}
	if out.Client != nil {
		client = *out.Client
	}
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	out.Client = &client
	if out.Logger == nil {
		out.Logger = slog.New(slog.DiscardHandler)
	}

	out.Logger = out.Logger.With("component", "azurekeyvault")
	return out, errors.Join(errs...)
}
