package vault

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/svcblocks/svcblocks/config/internal/caller"
	"github.com/svcblocks/svcblocks/internal/health"
)

// Errors that callers may branch on; an [Error] wraps them.
var (
	// ErrNotFound: there is no secret at the path, or its version is deleted.
	ErrNotFound = errors.New("vault: not found")
	// ErrForbidden: the token may not read the path, or is no longer valid.
	ErrForbidden = errors.New("vault: permission denied")
	// ErrSealed: the server is sealed, not initialized, or in maintenance.
	ErrSealed = errors.New("vault: server is sealed or unavailable")
)

// Error is what the server answered to a request.
type Error struct {
	// Op is what was asked: "read", "login", "renew lease", "renew token".
	Op string
	// Path is the path of the API, without /v1/.
	Path string
	// StatusCode is the status of the answer; 0 if there was none.
	StatusCode int
	// Messages are what the server says about it.
	Messages []string
	// Err is the cause: one of the Err variables, or a network error.
	Err error
}

// Error names operation, path, status and the server's messages.
func (e *Error) Error() string {
	text := fmt.Sprintf("vault: %s %s: ", e.Op, e.Path)
	switch {
	case e.StatusCode > 0 && e.Err != nil:
		text += fmt.Sprintf("status %d: %s", e.StatusCode, plain(e.Err))
	case e.StatusCode > 0:
		text += fmt.Sprintf("status %d", e.StatusCode)
	case e.Err != nil:
		text += plain(e.Err)
	}
	if len(e.Messages) > 0 {
		text += ": " + strings.Join(e.Messages, "; ")
	}
	return text
}

// plain is the text of a cause without the name of the package, which stands in
// front already.
func plain(err error) string { return strings.TrimPrefix(err.Error(), "vault: ") }

// Unwrap returns Err.
func (e *Error) Unwrap() error { return e.Err }

// Advice says what to do about the status; "" where there was none.
func (e *Error) Advice() string { return health.AdviceOfStatus(e.StatusCode) }

// Temporary reports whether the same request may work later.
func (e *Error) Temporary() bool {
	switch e.StatusCode {
	case 0:
		return !errors.Is(e.Err, context.Canceled)
	case http.StatusPreconditionFailed, http.StatusTooManyRequests:
		return true
	}
	return e.StatusCode >= 500
}

// answer is the part of Vault's answers that is used here.
type answer struct {
	LeaseID       string          `json:"lease_id"`
	LeaseDuration int64           `json:"lease_duration"`
	Renewable     bool            `json:"renewable"`
	Data          json.RawMessage `json:"data"`
	Warnings      []string        `json:"warnings"`
	Errors        []string        `json:"errors"`
	Auth          *struct {
		ClientToken   string `json:"client_token"`
		LeaseDuration int64  `json:"lease_duration"`
		Renewable     bool   `json:"renewable"`
	} `json:"auth"`
}

// maxAnswerBytes bounds an answer.
const maxAnswerBytes = 4 << 20

// server speaks to one Vault.
type server struct {
	*caller.Caller
	address, namespace string
}

// call makes a request, again while the server cannot answer for now. The answer
// is there for a failure too, where the server gave one.
func (v *server) call(ctx context.Context, op, method, path, query, token string, body any) (*answer, error) {
	var payload []byte
	if body != nil {
		var err error
		if payload, err = json.Marshal(body); err != nil {
			return nil, fmt.Errorf("vault: %s %s: %w", op, path, err)
		}
	}

	target := v.address + "/v1/" + escapePath(path)
	if query != "" {
		target += "?" + query
	}

	var out *answer
	err := v.Call(ctx, func(ctx context.Context) (*http.Request, error) {
		req, err := http.NewRequestWithContext(ctx, method, target, bytes.NewReader(payload))
		if err != nil {
			return nil, err
		}

		req.Header.Set("X-Vault-Request", "true")
		if token != "" {
			req.Header.Set("X-Vault-Token", token)
		}
		if v.namespace != "" {
			req.Header.Set("X-Vault-Namespace", v.namespace)
		}
		return req, nil
	}, func(a caller.Answer, err error) error {
		failed := &Error{Op: op, Path: path, StatusCode: a.Status, Err: err}
		if err != nil {
			out = nil
			return failed
		}
		out, err = failed.read(a)
		return err
	})
	return out, err
}

// read reads an answer, and says in e what is wrong with it.
func (e *Error) read(a caller.Answer) (*answer, error) {
	out := new(answer)
	decodeErr := json.Unmarshal(a.Body, out)
	if a.Status/100 == 2 {
		if len(a.Body) > 0 && decodeErr != nil {
			e.Err = errors.New("the answer is no JSON; is Address a Vault server?")
			return nil, e
		}
		return out, nil
	}

	switch a.Status {
	case http.StatusForbidden:
		e.Err = ErrForbidden
	case http.StatusNotFound:
		e.Err = ErrNotFound
	case http.StatusServiceUnavailable:
		e.Err = ErrSealed
	}

	e.Messages = append(out.Errors, out.Warnings...)
	for i, m := range e.Messages { // Vault lists several causes on lines of their own
		e.Messages[i] = strings.Join(strings.Fields(m), " ")
	}
	return out, e
}

func escapePath(path string) string {
	parts := strings.Split(strings.Trim(path, "/"), "/")
	for i, p := range parts {
		parts[i] = url.PathEscape(p)
	}
	return strings.Join(parts, "/")
}
