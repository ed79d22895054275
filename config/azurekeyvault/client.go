package azurekeyvault

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/svcblocks/svcblocks/internal/backoff"
	"github.com/svcblocks/svcblocks/internal/health"
)

// Errors that callers may branch on; an [Error] wraps them.
var (
	// ErrNotFound: the vault has no such secret or version.
	ErrNotFound = errors.New("not found")
	// ErrForbidden: the identity may not read the secret, or the vault's
	// firewall shuts it out.
	ErrForbidden = errors.New("permission denied")
	// ErrDisabled: the secret, or its version, is disabled.
	ErrDisabled = errors.New("the secret is disabled")
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
		parts = append(parts, e.Err.Error())
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

var retryPolicy = backoff.Policy{Base: 400 * time.Millisecond, Max: 5 * time.Second}

// call makes a GET request, again while the service cannot answer for now, and
// decodes the answer into out.
func (r *Resolver) call(ctx context.Context, op, path, target, token string, header map[string]string, out any) (http.Header, error) {
	for attempt := 1; ; attempt++ {
		answered, wait, err := r.once(ctx, op, path, target, token, header, out)
		var failed *Error
		if err == nil || !errors.As(err, &failed) || !failed.Temporary() || attempt >= r.opt.MaxAttempts || ctx.Err() != nil {
			return answered, err
		}
		timer := time.NewTimer(min(max(wait, retryPolicy.Delay(attempt)), retryPolicy.Max))
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return nil, errors.Join(err, context.Cause(ctx))
		}
	}
}

func (r *Resolver) once(ctx context.Context, op, path, target, token string, header map[string]string, out any) (http.Header, time.Duration, error) {
	failed := &Error{Op: op, Path: path}
	if r.opt.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, r.opt.Timeout, fmt.Errorf("no answer within %s: %w", r.opt.Timeout, context.DeadlineExceeded))
		defer cancel()
	}

	req, err := http.NewRequestWithContext(ctx, http.MethodGet, target, nil)
	if err != nil {
		failed.Err = errors.New("the path makes no valid URL")
		return nil, 0, failed
	}

	for k, v := range header {
		req.Header.Set(k, v)
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}

	resp, err := r.opt.Client.Do(req)
	if err != nil {
		failed.Err = netCause(ctx, err)
		return nil, 0, failed
	}

	defer func() { _ = resp.Body.Close() }()
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswerBytes+1))
	failed.StatusCode = resp.StatusCode

	switch {
	case err != nil:
		failed.StatusCode, failed.Err = 0, netCause(ctx, err)
		return nil, 0, failed
	case len(data) > maxAnswerBytes:
		failed.Err = fmt.Errorf("the answer is larger than %d bytes", maxAnswerBytes)
		return nil, 0, failed
	case resp.StatusCode == http.StatusOK:
		if json.Unmarshal(data, out) != nil {
			failed.Err = errors.New("the answer is not the JSON that was expected")
			return nil, 0, failed
		}
		return resp.Header, 0, nil
	}

	failed.describe(data)
	wait, _ := backoff.RetryAfter(resp.Header.Get("Retry-After"), time.Now())
	return resp.Header, wait, failed
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

// netCause drops the URL that net/http puts before the cause, and gives the
// reason of an ended context.
func netCause(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	var wrapped *url.Error
	if errors.As(err, &wrapped) {
		return wrapped.Err
	}
	return err
}
