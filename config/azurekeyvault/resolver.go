package azurekeyvault

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/svcblocks/svcblocks/config/internal/caller"
	"github.com/svcblocks/svcblocks/internal/backoff"
)

// apiVersion is the version of the REST API that is spoken.
const apiVersion = "7.4"

// Resolver reads secrets of one vault. Make one with [New]; hand it to
// config.Resolve. Safe for concurrent use.
type Resolver struct {
	opt     Options
	service *service
	// turn is held by the one call that gets a token at a time.
	turn  chan struct{}
	token accessToken // guarded by turn
}

// accessToken is the token in use.
type accessToken struct {
	text     string
	expires  time.Time
	resource string
}

// New makes a Resolver. It checks the options and makes no request.
func New(opts *Options) (*Resolver, error) {
	o, err := opts.withDefaults()
	if err != nil {
		return nil, err
	}
	r := &Resolver{opt: o, turn: make(chan struct{}, 1)}
	r.service = &service{&caller.Caller{Client: o.Client, Timeout: o.Timeout, Retry: backoff.Retry(o.Retry), MaxBytes: maxAnswerBytes}}
	switch {
	case r.opt.TokenFile != "":
		r.opt.Token = tokenFromFile(o.TokenFile)
	case r.opt.Token == nil:
		r.opt.Token = r.managedIdentity
	}
	return r, nil
}

var (
	// Key Vault: object names are letters, digits and hyphens, 1 to 127.
	secretName    = regexp.MustCompile(`^[0-9A-Za-z-]{1,127}$`)
	secretVersion = regexp.MustCompile(`^[0-9a-f]{32}$`)
)

// Resolve returns the value of the secret at path, its name with an optional
// /version. With a key, the value is a JSON object and what it holds at key is
// returned. The lease lasts until the secret expires; 0 if it does not.
func (r *Resolver) Resolve(ctx context.Context, path, key string) (value string, lease time.Duration, err error) {
	name, version, hasVersion := strings.Cut(strings.Trim(path, "/"), "/")
	if !secretName.MatchString(name) || hasVersion && !secretVersion.MatchString(version) {
		return "", 0, fmt.Errorf("azurekeyvault: read %s: want the name of a secret (letters, digits, hyphens), or name/version", path)
	}
	found, err := r.read(ctx, strings.Trim(path, "/"))
	if err != nil {
		return "", 0, err
	}

	if found.Attributes.Enabled != nil && !*found.Attributes.Enabled {
		return "", 0, &Error{Op: "read", Path: path, StatusCode: http.StatusOK, Err: ErrDisabled}
	}
	if at := found.Attributes.Expires; at != nil {
		lease = max(time.Until(time.Unix(*at, 0)), 0) // one that is over gives its value still
	}
	if key == "" {
		return found.Value, lease, nil
	}

	value, err = pick(found.Value, path, key)
	return value, lease, err
}

// secretBundle is the part of the service's answer that is used here.
type secretBundle struct {
	Value      string `json:"value"`
	Attributes struct {
		Enabled *bool  `json:"enabled"`
		Expires *int64 `json:"exp"`
	} `json:"attributes"`
}

// read gets a secret. The first answer of a vault is a challenge that names
// the resource to get a token for; a later one says that the token is no
// longer good.
func (r *Resolver) read(ctx context.Context, path string) (*secretBundle, error) {
	token, resource := r.current(ctx)
	for challenged := 0; ; challenged++ {
		var found secretBundle
		header, err := r.service.get(ctx, "read", path, r.opt.VaultURL+"/secrets/"+path+"?api-version="+apiVersion, token, nil, &found)
		var failed *Error
		if err == nil || !errors.As(err, &failed) || failed.StatusCode != http.StatusUnauthorized || challenged == 1 {
			return &found, err
		}

		if named, err := r.challenge(header); err == nil {
			resource = named
		} else if resource == "" {
			failed.Err = err
			return nil, failed
		}
		if token, err = r.authorize(ctx, resource, token); err != nil {
			return nil, err
		}
	}
}

// current is the token in use, if it is good for a while.
func (r *Resolver) current(ctx context.Context) (token, resource string) {
	select {
	case r.turn <- struct{}{}:
		defer func() { <-r.turn }()
	case <-ctx.Done():
		return "", ""
	}
	if r.token.text != "" && time.Until(r.token.expires) < time.Minute {
		return "", r.token.resource
	}
	return r.token.text, r.token.resource
}

// authorize gets a token in place of one that was refused.
func (r *Resolver) authorize(ctx context.Context, resource, refused string) (string, error) {
	select {
	case r.turn <- struct{}{}:
		defer func() { <-r.turn }()
	case <-ctx.Done():
		return "", fmt.Errorf("azurekeyvault: get token: %w", context.Cause(ctx))
	}

	if r.token.text != "" && r.token.text != refused && r.token.resource == resource && time.Until(r.token.expires) > 0 {
		return r.token.text, nil // another call got it meanwhile
	}

	text, expires, err := r.opt.Token(ctx, resource)
	switch {
	case err != nil:
		return "", fmt.Errorf("azurekeyvault: get token: %w", err)
	case text == "" || strings.ContainsAny(text, "\r\n"):
		return "", errors.New("azurekeyvault: get token: the credential gave no token")
	}

	r.token = accessToken{text, expires, resource}
	r.opt.Logger.Debug("got a token", "resource", resource, "expires", expires)
	return text, nil
}

// challenge reads the resource from WWW-Authenticate. It must be of the
// vault's own domain: a token is for that and goes nowhere else.
func (r *Resolver) challenge(header http.Header) (string, error) {
	text := header.Get("WWW-Authenticate")
	_, parameters, ok := strings.Cut(text, "Bearer ")
	if !ok {
		return "", errors.New("the service asks for no bearer token")
	}

	resource := ""
	for part := range strings.SplitSeq(parameters, ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(part), "=")
		value = strings.Trim(value, `"`)
		switch strings.ToLower(name) {
		case "resource":
			resource = value
		case "scope":
			if resource == "" {
				resource = strings.TrimSuffix(value, "/.default")
			}
		}
	}

	u, err := url.Parse(resource)
	vault, _ := url.Parse(r.opt.VaultURL) // checked by New
	if err != nil || u.Scheme != "https" || u.Host == "" || !strings.HasSuffix(vault.Hostname(), "."+u.Hostname()) {
		return "", errors.New("the service asks for a token of a resource that is not of the vault's domain")
	}
	return strings.TrimSuffix(resource, "/"), nil
}

// pick takes one value of a JSON object. Its errors name keys and no values.
func pick(text, path, key string) (string, error) {
	var values map[string]json.RawMessage
	if json.Unmarshal([]byte(text), &values) != nil || values == nil {
		return "", fmt.Errorf("azurekeyvault: read %s: the value is no JSON object, so it has no key %q", path, key)
	}

	raw, ok := values[key]
	if !ok || string(raw) == "null" {
		names := make([]string, 0, len(values))
		for k := range values {
			names = append(names, k)
		}
		slices.Sort(names)
		return "", &Error{
			Op: "read", Path: path, StatusCode: http.StatusOK, Err: ErrNotFound,
			Message: fmt.Sprintf("no key %q; there are: %s", key, strings.Join(names, ", ")),
		}
	}

	var value string
	if json.Unmarshal(raw, &value) == nil {
		return value, nil
	}
	return string(raw), nil
}

// tokenFromFile gives the token in a file. Whoever writes it knows how long it
// lasts: it is read again soon.
func tokenFromFile(path string) TokenFunc {
	return func(context.Context, string) (string, time.Time, error) {
		data, err := os.ReadFile(path)
		if err != nil {
			return "", time.Time{}, err
		}
		token := strings.TrimSpace(string(data))
		if token == "" || strings.ContainsAny(token, "\r\n\t ") {
			return "", time.Time{}, fmt.Errorf("%s does not hold one token", path)
		}
		return token, time.Now().Add(tokenFileLife), nil
	}
}

// tokenFileLife is how long a token from a file is used before the file is read
// again; a minute before its end a token counts as over.
const tokenFileLife = 2 * time.Minute

// managedIdentity gets a token from App Service or the metadata service.
func (r *Resolver) managedIdentity(ctx context.Context, resource string) (string, time.Time, error) {
	query := url.Values{"resource": {resource}}
	if r.opt.ClientID != "" {
		query.Set("client_id", r.opt.ClientID)
	}
	endpoint, header := metadataService, map[string]string{"Metadata": "true"}
	version := "2018-02-01"
	if r.opt.IdentityEndpoint != "" {
		endpoint, version = r.opt.IdentityEndpoint, "2019-08-01"
		header = map[string]string{"X-IDENTITY-HEADER": r.opt.IdentityHeader.Reveal()}
	}

	query.Set("api-version", version)
	var out struct {
		AccessToken string      `json:"access_token"`
		ExpiresOn   json.Number `json:"expires_on"`
	}
	if _, err := r.service.get(ctx, "get token from", "managed identity", endpoint+"?"+query.Encode(), "", header, &out); err != nil {
		return "", time.Time{}, err
	}

	expires, err := out.ExpiresOn.Int64()
	if err != nil || out.AccessToken == "" {
		return "", time.Time{}, errors.New("the managed identity's answer holds no token")
	}
	return out.AccessToken, time.Unix(expires, 0), nil
}
