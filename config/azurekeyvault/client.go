package azurekeyvault

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/svcblocks/svcblocks/config/internal/caller"
	"github.com/svcblocks/svcblocks/internal/health"
)

// Errors that callers may branch on; an [Error] wraps them.
var (
	// ErrNotFound: the vault has no such secret or version.
	ErrNotFound = errors.New("azurekeyvault: not found")
	// ErrForbidden: the identity may not read the secret, or the vault's
	// firewall shuts it out.
	ErrForbidden = errors.New("azurekeyvault: permission denied")
	// ErrDisabled: the secret, or its version, is disabled.
	ErrDisabled = errors.New("azurekeyvault: the secret is disabled")
)

// Error is what the service answered to a request.
type Error struct {
	// Op is what was asked: "read", "get token from".
	Op string
	// Path is the name of the secret, with the version if one was asked for.
	Path string
	// StatusCode is the status of the answer; 0 if there was none.
	StatusCode int
	// Code is the service's name of the failure, such as "SecretNotFound".
	Code string
	// Message is the service's text about it.
	Message string
	// Err is the cause: one of the Err variables, or a network error.
	Err error
}

// Error names operation, path, status and what the service says.
func (e *Error) Error() string {
	parts := []string{fmt.Sprintf("azurekeyvault: %s %s", e.Op, e.Path)}
	if e.StatusCode > 0 && e.StatusCode != http.StatusOK {
		parts = append(parts, fmt.Sprintf("status %d", e.StatusCode))
	}
	if e.Err != nil {
		parts = append(parts, strings.TrimPrefix(e.Err.Error(), "azurekeyvault: ")) // said in front already
	}
	if e.Code != "" {
		parts = append(parts, e.Code)
	}
	if e.Message != "" {
		parts = append(parts, e.Message)
	}
	return strings.Join(parts, ": ")
}

// Unwrap returns Err.
func (e *Error) Unwrap() error { return e.Err }

// Advice says what to do about the status; "" where there was none.
func (e *Error) Advice() string { return health.AdviceOfStatus(e.StatusCode) }

// Temporary reports whether the same request may work later.
func (e *Error) Temporary() bool {
	switch e.StatusCode {
	case 0:
		return !errors.Is(e.Err, context.Canceled)
	case http.StatusRequestTimeout, http.StatusGone, http.StatusTooManyRequests:
		return true
	}
	return e.StatusCode >= 500
}

// maxAnswerBytes bounds an answer: a secret has at most 25 kB.
const maxAnswerBytes = 1 << 20

// service speaks to Key Vault and to what gives tokens.
type service struct{ *caller.Caller }

// get makes a GET request, again while the service cannot answer for now, and
// decodes the answer into out.
func (v *service) get(ctx context.Context, op, path, target, token string, header map[string]string, out any) (answered http.Header, err error) {
	err = v.Call(ctx, func(ctx context.Context) (*http.Request, error) {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, target, nil)
		if err != nil {
			return nil, err
		}
		for k, v := range header {
			req.Header.Set(k, v)
		}
		if token != "" {
			req.Header.Set("Authorization", "Bearer "+token)
		}
		return req, nil
	}, func(a caller.Answer, err error) error {
		answered = a.Header
		failed := &Error{Op: op, Path: path, StatusCode: a.Status, Err: err}
		switch {
		case err != nil:
			return failed
		case a.Status != http.StatusOK:
			failed.describe(a.Body)
			return failed
		case json.Unmarshal(a.Body, out) != nil:
			failed.Err = errors.New("the answer is not the JSON that was expected")
			return failed
		}
		return nil
	})
	return answered, err
}

// describe reads the service's error, of Key Vault or of the identity.
func (e *Error) describe(data []byte) {
	var vault struct {
		Error struct {
			Code    string `json:"code"`
			Message string `json:"message"`
			Inner   struct {
				Code string `json:"code"`
			} `json:"innererror"`
		} `json:"error"`
	}

	var identity struct {
		Error       string `json:"error"`
		Description string `json:"error_description"`
	}
	switch {
	case json.Unmarshal(data, &vault) == nil:
		e.Code, e.Message = vault.Error.Code, vault.Error.Message
		if vault.Error.Inner.Code != "" {
			e.Code = vault.Error.Inner.Code
		}
	case json.Unmarshal(data, &identity) == nil:
		e.Code, e.Message = identity.Error, identity.Description
	}

	switch {
	case e.Code == "SecretDisabled":
		e.Err = ErrDisabled
	case e.StatusCode == http.StatusForbidden:
		e.Err = ErrForbidden
	case e.StatusCode == http.StatusNotFound:
		e.Err = ErrNotFound
	}
}
