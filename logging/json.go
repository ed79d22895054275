package logging

import (
	"io"
	"log/slog"
)

// newJSON returns a handler which writes one JSON object per record to w.
func newJSON(w io.Writer, source bool, redact *redactor) slog.Handler {
	if redact != nil && len(redact.forms) > 0 {
		w = &cleaning{w: w, redact: redact}
	}
	var h slog.Handler = slog.NewJSONHandler(w, &slog.HandlerOptions{AddSource: source, Level: slog.Level(-1 << 30)})
	if redact != nil {
		h = &redacting{redact: redact, next: h}
	}
	return h
}

// cleaning takes the text of secrets out of what is written.
type cleaning struct {
	w      io.Writer
	redact *redactor
}

func (c *cleaning) Write(p []byte) (int, error) {
	if _, err := c.w.Write(c.redact.line(p)); err != nil {
		return 0, err
	}
	return len(p), nil
}
