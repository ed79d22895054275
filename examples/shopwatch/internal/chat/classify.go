package chat

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/svcblocks/svcblocks/notify"
)

// classified turns answers that refuse a message into errors that say whether
// to try again, and when; the services' own errors are words.
type classified struct{ next http.RoundTripper }

func (c classified) CloseIdleConnections() {
	if n, ok := c.next.(interface{ CloseIdleConnections() }); ok {
		n.CloseIdleConnections()
	}
}

// maxAnswer bounds what is read of an answer.
const maxAnswer = 64 << 10

// RoundTrip is for [http.RoundTripper].
func (c classified) RoundTrip(req *http.Request) (*http.Response, error) {
	res, err := c.next.RoundTrip(req)
	if err != nil {
		return nil, err
	}

	if res.StatusCode >= 200 && res.StatusCode < 300 {
		res.Body = struct {
			io.Reader
			io.Closer
		}{io.LimitReader(res.Body, maxAnswer), res.Body}
		return res, nil
	}
	defer func() { _ = res.Body.Close() }()

	body, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	if err != nil {
		body = nil // the status says enough
	}
	return nil, refusal(res, body)
}

// refusal says what an answer means.
func refusal(res *http.Response, body []byte) error {
	var said struct {
		Description string `json:"description"` // Telegram
		Message     string `json:"message"`     // Discord
		Parameters  struct {
			RetryAfter float64 `json:"retry_after"` // Telegram
		} `json:"parameters"`
		RetryAfter float64 `json:"retry_after"` // Discord
	}

	_ = json.Unmarshal(body, &said) // Teams, and proxies, write text
	reason := strings.TrimSpace(res.Status + " " + said.Description + said.Message)

	// NewError cleans the reason of what may be secret.
	e := notify.NewError("send", errors.New(reason))
	e.Code, e.Class = res.StatusCode, notify.ClassRejected

	switch {
	case res.StatusCode == http.StatusTooManyRequests:
		e.Class = notify.ClassThrottled
		wait := max(0, said.Parameters.RetryAfter, said.RetryAfter)
		if s, err := strconv.ParseFloat(res.Header.Get("Retry-After"), 64); err == nil && s > wait {
			wait = s // not so for NaN
		}
		const most = 3600 // an hour; a wait beyond it is a mistake
		e.Wait = time.Duration(min(wait, most) * float64(time.Second))
	case res.StatusCode == http.StatusUnauthorized, res.StatusCode == http.StatusForbidden, res.StatusCode == http.StatusNotFound:
		e.Class = notify.ClassAuth // the token, or the webhook, is not known there
	case res.StatusCode >= 500, res.StatusCode == http.StatusRequestTimeout:
		e.Class = notify.ClassServer
	}

	return e
}
