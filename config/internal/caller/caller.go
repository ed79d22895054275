// Package caller makes the HTTP calls of the resolvers: each try within a
// timeout, and again while the server cannot answer for now.
package caller

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/svcblocks/svcblocks/internal/backoff"
)

// Caller makes calls. Safe for concurrent use.
type Caller struct {
	// Client makes the requests.
	Client *http.Client
	// Timeout bounds one try. 0 or less is none.
	Timeout time.Duration
	// Retry says how often a call is made: once for the zero Retry. A server's
	// Retry-After makes a wait longer, up to Max.
	Retry backoff.Retry
	// MaxBytes bounds an answer.
	MaxBytes int64
}

// Answer is what the server said; the zero Answer where it said nothing.
type Answer struct {
	Status int
	Header http.Header
	Body   []byte
}

// Call makes the request that build gives. judge says what the answer, or the
// reason why there is none, means: nil for a call that worked. It is made again
// while that error is temporary.
func (c *Caller) Call(ctx context.Context, build func(context.Context) (*http.Request, error), judge func(Answer, error) error) error {
	begun := time.Now()
	for attempt := 1; ; attempt++ {
		answer, err := c.once(ctx, build)
		err = judge(answer, err)
		var failed interface{ Temporary() bool }
		if err == nil || !errors.As(err, &failed) || !failed.Temporary() || ctx.Err() != nil {
			return err
		}

		after, _ := backoff.RetryAfter(answer.Header.Get("Retry-After"), time.Now())
		wait := min(max(after, c.Retry.Policy().Delay(attempt)), c.Retry.Max)
		last := c.Retry.Attempts >= 0 && attempt >= c.Retry.Attempts
		if last || c.Retry.MaxElapsed > 0 && time.Since(begun)+wait > c.Retry.MaxElapsed {
			return err
		}

		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return errors.Join(err, context.Cause(ctx))
		}
	}
}

func (c *Caller) once(ctx context.Context, build func(context.Context) (*http.Request, error)) (Answer, error) {
	if c.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, c.Timeout, fmt.Errorf("no answer within %s: %w", c.Timeout, context.DeadlineExceeded))
		defer cancel()
	}
	req, err := build(ctx)
	if err != nil { // it may repeat the address
		return Answer{}, errors.New("the path makes no valid URL")
	}

	resp, err := c.Client.Do(req)
	if err != nil {
		return Answer{}, netCause(ctx, err)
	}
	defer func() { _ = resp.Body.Close() }()
	data, err := io.ReadAll(io.LimitReader(resp.Body, c.MaxBytes+1))
	if err != nil {
		return Answer{}, netCause(ctx, err)
	}

	out := Answer{Status: resp.StatusCode, Header: resp.Header, Body: data}
	if int64(len(data)) > c.MaxBytes {
		out.Body = nil
		return out, fmt.Errorf("the answer is larger than %d bytes", c.MaxBytes)
	}
	return out, nil
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
