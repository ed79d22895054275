package serving

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"

	"github.com/svcblocks/svcblocks/examples/ml/internal/model"
)

// maxBody bounds a request: 16 MiB are about 100,000 rows of 20 features.
const maxBody = 16 << 20

const (
	inputName         = "features"
	outputName        = "probabilities"
	predictSignature  = "serving_default"
	classifySignature = "classify"
)

// httpError is an answer that is no success. Its text is the client's.
type httpError struct {
	status int
	text   string
}

func (e *httpError) Error() string { return e.text }

func failf(status int, format string, args ...any) error {
	return &httpError{status, fmt.Sprintf(format, args...)}
}

// Handler returns the API of m.
func (m *Models) Handler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		answer, err := m.serve(w, r)
		status := http.StatusOK
		if err != nil {
			status = http.StatusInternalServerError
			if known, ok := errors.AsType[*httpError](err); ok {
				status = known.status
			} else {
				m.log.ErrorContext(r.Context(), "request failed", "path", r.URL.Path, "error", err)
				err = errors.New("internal error; the log says which")
			}
			answer = map[string]string{"error": err.Error()}
		}

		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(answer) // a client who left is no error of ours
	})
}

// target is what a path asks for.
type target struct {
	name    string
	version int    // 0: the newest
	verb    string // "", metadata, predict, classify, regress
}

// parsePath reads /v1/models/NAME[/versions/N|/labels/L][/metadata|:VERB].
func parsePath(path string) (target, error) {
	malformed := failf(http.StatusNotFound, "Malformed request: %s: the API is /v1/models/NAME[/versions/N][/metadata|:predict|:classify]", path)
	rest, ok := strings.CutPrefix(path, "/v1/models/")
	if !ok {
		return target{}, malformed
	}

	var t target
	rest, t.verb, _ = strings.Cut(rest, ":")
	if strings.HasSuffix(path, ":") {
		return target{}, malformed
	}
	if without, ok := strings.CutSuffix(rest, "/metadata"); ok && t.verb == "" {
		rest, t.verb = without, "metadata"
	}

	parts := strings.Split(rest, "/")
	t.name = parts[0]
	switch {
	case t.name == "" || len(parts) != 1 && len(parts) != 3:
		return target{}, malformed
	case len(parts) == 1:
		return t, nil
	case parts[1] == "labels":
		return target{}, failf(http.StatusNotFound, "Unrecognized servable version label: %s", parts[2])
	case parts[1] != "versions":
		return target{}, malformed
	}

	v, err := strconv.Atoi(parts[2])
	if err != nil || v < 1 {
		return target{}, failf(http.StatusBadRequest, "version %q is no whole number above 0", parts[2])
	}
	t.version = v
	return t, nil
}

func (m *Models) serve(w http.ResponseWriter, r *http.Request) (any, error) {
	t, err := parsePath(r.URL.Path)
	if err != nil {
		return nil, err
	}

	method := http.MethodPost
	switch t.verb {
	case "", "metadata":
		method = http.MethodGet
	case "predict", "classify", "regress":
	default:
		return nil, failf(http.StatusNotFound, "Malformed request: %q is none of predict, classify and regress", t.verb)
	}
	if r.Method != method {
		w.Header().Set("Allow", method)
		return nil, failf(http.StatusMethodNotAllowed, "Malformed request: %s %s: use %s", r.Method, r.URL.Path, method)
	}

	var loaded *model.Model
	ok := t.name == m.name
	version := t.version
	if ok {
		loaded, version, ok = m.get(t.version)
	}
	if !ok {
		if t.version == 0 {
			return nil, failf(http.StatusNotFound, "Servable not found for request: Latest(%s)", t.name)
		}
		return nil, failf(http.StatusNotFound, "Servable not found for request: Specific(%s, %d)", t.name, t.version)
	}

	switch t.verb {
	case "":
		if t.version != 0 {
			return status([]int{t.version}), nil
		}
		return status(m.list()), nil
	case "metadata":
		return metadata(m.name, version, loaded.Spec()), nil
	case "regress":
		return nil, failf(http.StatusBadRequest, "Expected regression signature: this model tells %d classes apart; use :predict or :classify", len(loaded.Spec().Classes))
	}

	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		if _, big := errors.AsType[*http.MaxBytesError](err); big {
			return nil, failf(http.StatusRequestEntityTooLarge, "the request is larger than %d bytes: send fewer instances at a time", maxBody)
		}
		return nil, failf(http.StatusBadRequest, "the request could not be read to its end")
	}
	if t.verb == "classify" {
		return classify(loaded, body)
	}
	return predict(loaded, body)
}

// ask asks the model and turns what the client can mend into its error.
func ask(m *model.Model, rows [][]float32) ([][]float32, error) {
	p, err := m.Predict(rows)
	if errors.Is(err, model.ErrShape) || errors.Is(err, model.ErrNotFinite) {
		return nil, failf(http.StatusBadRequest, "%v", err)
	}
	return p, err
}
