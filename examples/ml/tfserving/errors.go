package tfserving

import (
	"errors"
	"fmt"
	"net/http"
)

// ErrUnexpected says that the answer is not what the API documents: something
// else listens at the address.
var ErrUnexpected = errors.New("not an answer of TensorFlow Serving's REST API")

func unexpected(op string, m Model, format string, args ...any) error {
	return fmt.Errorf("tfserving: %s %s: %w: %s", op, m.Name, ErrUnexpected, fmt.Sprintf(format, args...))
}

// Error is an error that the server gave.
type Error struct {
	// Op is what was asked: predict, classify, regress, status or metadata.
	Op string
	// Model is what was asked about.
	Model Model
	// Status is the HTTP status code: 400 if the request does not fit the
	// model, 404 if there is no such model.
	Status int
	// Message is the server's text, empty if it gave none.
	Message string
}

// Error describes the failure.
func (e *Error) Error() string {
	message := e.Message
	if message == "" {
		message = http.StatusText(e.Status)
	}
	return fmt.Sprintf("tfserving: %s %s: status %d: %s", e.Op, e.Model.Name, e.Status, message)
}

// Temporary reports whether the same request may succeed later: the server is
// busy, loading or failing, and the request is not at fault.
func (e *Error) Temporary() bool {
	return e.Status >= 500 && e.Status != http.StatusNotImplemented || e.Status == http.StatusTooManyRequests
}
