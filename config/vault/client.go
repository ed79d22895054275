package vault

import (
	"bytes"
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
	// ErrNotFound: there is no secret at the path, or its version is deleted.
	ErrNotFound = errors.New("not found")
	// ErrForbidden: the token may not read the path, or is no longer valid.
	ErrForbidden = errors.New("permission denied")
	// ErrSealed: the server is sealed, not initialized, or in maintenance.
	ErrSealed = errors.New("server is sealed or unavailable")
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
		text += fmt.Sprintf("status %d: %s", e.StatusCode, e.Err)
	case e.StatusCode > 0:
		text += fmt.Sprintf("status %d", e.StatusCode)
	case e.Err != nil:
		text += e.Err.Error()
	}
	if len(e.Messages) > 0 {
		text += ": " + strings.Join(e.Messages, "; ")
	}
	return text
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

var retryPolicy = backoff.Policy{Base: 200 * time.Millisecond, Max: 3 * time.Second}

// call makes a request, again while the server cannot answer for now.
func (r *Resolver) call(ctx context.Context, op, method, path, query, token string, body any) (*answer, error) {
	var payload []byte
	if body != nil {
		var err error
		if payload, err = json.Marshal(body); err != nil {
			return nil, fmt.Errorf("vault: %s %s: %w", op, path, err)
		}
	}

	for attempt := 1; ; attempt++ {
		out, wait, err := r.once(ctx, op, method, path, query, token, payload)
		var failed *Error
		if err == nil || !errors.As(err, &failed) || !failed.Temporary() || attempt >= r.opt.MaxAttempts || ctx.Err() != nil {
			return out, err
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

func (r *Resolver) once(ctx context.Context, op, method, path, query, token string, payload []byte) (*answer, time.Duration, error) {
	fail := func(status int, err error, messages ...string) error {
		return &Error{Op: op, Path: path, StatusCode: status, Messages: messages, Err: err}
	}

	if r.opt.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, r.opt.Timeout, fmt.Errorf("no answer within %s: %w", r.opt.Timeout, context.DeadlineExceeded))
		defer cancel()
	}

	var body io.Reader
	if payload != nil {
		body = bytes.NewReader(payload)
	}
	target := r.opt.Address + "/v1/" + escapePath(path)
	if query != "" {
		target += "?" + query
	}

	req, err := http.NewRequestWithContext(ctx, method, target, body)
	if err != nil {
		return nil, 0, fail(0, errors.New("the path makes no valid URL"))
	}
	req.Header.Set("X-Vault-Request", "true")
	if token != "" {
		req.Header.Set("X-Vault-Token", token)
	}

	if r.opt.Namespace != "" {
		req.Header.Set("X-Vault-Namespace", r.opt.Namespace)
	}
	resp, err := r.opt.Client.Do(req)
	if err != nil {
		return nil, 0, fail(0, netCause(ctx, err))
	}

	defer func() { _ = resp.Body.Close() }()
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswerBytes+1))
	switch {
	case err != nil:
		return nil, 0, fail(0, netCause(ctx, err))
	case len(data) > maxAnswerBytes:
		return nil, 0, fail(resp.StatusCode, fmt.Errorf("the answer is larger than %d bytes", maxAnswerBytes))
	}

	var out answer
	decodeErr := json.Unmarshal(data, &out)

	if resp.StatusCode/100 == 2 {
		if len(data) > 0 && decodeErr != nil {
			return nil, 0, fail(resp.StatusCode, errors.New("the answer is no JSON; is Address a Vault server?"))
		}
		return &out, 0, nil
	}

	var cause error
	switch {
	case resp.StatusCode == http.StatusForbidden:
		cause = ErrForbidden
	case resp.StatusCode == http.StatusNotFound:
		cause = ErrNotFound
	case resp.StatusCode == http.StatusServiceUnavailable:
		cause = ErrSealed
	}

	messages := append(out.Errors, out.Warnings...)
	for i, m := range messages { // Vault lists several causes on lines of their own
		messages[i] = strings.Join(strings.Fields(m), " ")
	}
	wait, _ := backoff.RetryAfter(resp.Header.Get("Retry-After"), time.Now())
	return &out, wait, fail(resp.StatusCode, cause, messages...)
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

func escapePath(path string) string {
	parts := strings.Split(strings.Trim(path, "/"), "/")
	for i, p := range parts {
		parts[i] = url.PathEscape(p)
	}
	return strings.Join(parts, "/")
}
