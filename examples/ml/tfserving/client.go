package tfserving

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"strings"
)

// Options are the settings of a [Client]. The zero Options are the defaults.
type Options struct {
	// HTTPClient makes the requests. Defaults to http.DefaultClient; bound
	// requests by their contexts.
	HTTPClient *http.Client
	// MaxBytes bounds an answer. Defaults to 64 MiB; negative: no bound.
	MaxBytes int64
}

// Client asks one server. Make one with [New]. Safe for concurrent use.
type Client struct {
	base *url.URL
	http *http.Client
	most int64
}

// New returns a client of the server at base, such as http://host:8501. It
// makes no connection. Nil opts are the defaults.
func New(base string, opts *Options) (*Client, error) {
	u, err := url.Parse(base)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.RawQuery != "" || u.Fragment != "" {
		return nil, errors.New("tfserving: New: the address must look like http://host:8501")
	}
	c := &Client{base: u, http: http.DefaultClient, most: 64 << 20}
	if opts != nil && opts.HTTPClient != nil {
		c.http = opts.HTTPClient
	}
	if opts != nil && opts.MaxBytes != 0 {
		c.most = opts.MaxBytes
	}
	return c, nil
}

// Model names a model on the server.
type Model struct {
	// Name is required.
	Name string
	// Version is a version's number. Zero is the newest, or what Label says.
	Version int64
	// Label names a version, such as "stable". Not with Version.
	Label string
}

func (m Model) path() (string, error) {
	switch {
	case m.Name == "":
		return "", errors.New("the model has no name")
	case m.Version < 0:
		return "", fmt.Errorf("version %d: versions count from 1", m.Version)
	case m.Version != 0 && m.Label != "":
		return "", fmt.Errorf("version %d and label %q: give one of them", m.Version, m.Label)
	}

	path := "v1/models/" + url.PathEscape(m.Name)
	if m.Version != 0 {
		path += "/versions/" + strconv.FormatInt(m.Version, 10)
	}
	if m.Label != "" {
		path += "/labels/" + url.PathEscape(m.Label)
	}
	return path, nil
}

// Request is what Predict sends. Exactly one of Instances and Inputs is set.
type Request struct {
	// Signature names one of the model's signatures. Empty is its default.
	Signature string
	// Instances are rows: a list with one value per instance, which is the
	// input tensor's, or a map of input names to values.
	Instances any
	// Inputs are columns: the one input tensor, or a map of input names to
	// tensors.
	Inputs any
}

// Predict returns the predictions for Instances, or the outputs for Inputs: a
// list if the model has one output, else objects with the outputs' names.
// [Floats] and [Matrix] turn lists of numbers into Go's. Errors that the server
// gives are an *[Error].
func (c *Client) Predict(ctx context.Context, m Model, r Request) (any, error) {
	body := map[string]any{}
	key := "predictions"
	switch {
	case (r.Instances == nil) == (r.Inputs == nil):
		return nil, fmt.Errorf("tfserving: predict %s: give either Instances or Inputs", m.Name)
	case r.Instances != nil:
		body["instances"] = r.Instances
	default:
		body["inputs"], key = r.Inputs, "outputs"
	}
	if r.Signature != "" {
		body["signature_name"] = r.Signature
	}
	return c.call(ctx, m, "predict", body, key)
}

// Examples is what Classify and Regress send.
type Examples struct {
	// Signature names one of the model's signatures. Empty is its default.
	Signature string
	// Context holds features that all examples share.
	Context map[string]any
	// Examples hold the values of each example by feature: one value or a list.
	Examples []map[string]any
}

func (e Examples) body() map[string]any {
	body := map[string]any{"examples": e.Examples}
	if e.Context != nil {
		body["context"] = e.Context
	}
	if e.Signature != "" {
		body["signature_name"] = e.Signature
	}
	return body
}

// Score is how likely a class is. Label is empty if the model has none for it.
type Score struct {
	Label string
	Score float64
}

// Classify returns the scores of each example.
func (c *Client) Classify(ctx context.Context, m Model, e Examples) ([][]Score, error) {
	value, err := c.call(ctx, m, "classify", e.body(), "results", "result")
	if err != nil {
		return nil, err
	}
	list, _ := value.([]any)
	out := make([][]Score, len(list))
	for i, example := range list {
		pairs, ok := example.([]any)
		if !ok {
			return nil, unexpected("classify", m, "results[%d] is no list", i)
		}
		for j, pair := range pairs {
			var s Score
			p, ok := pair.([]any)
			if ok = ok && len(p) == 2; ok {
				s.Label, ok = p[0].(string)
			}
			if ok {
				s.Score, ok = float(p[1])
			}
			if !ok {
				return nil, unexpected("classify", m, "results[%d][%d] is no pair of a label and a score", i, j)
			}
			out[i] = append(out[i], s)
		}
	}

	if len(out) != len(e.Examples) {
		return nil, unexpected("classify", m, "%d results for %d examples", len(out), len(e.Examples))
	}
	return out, nil
}

// Regress returns the value of each example.
func (c *Client) Regress(ctx context.Context, m Model, e Examples) ([]float64, error) {
	value, err := c.call(ctx, m, "regress", e.body(), "results", "result")
	if err != nil {
		return nil, err
	}
	out, err := Floats(value)
	if err != nil || len(out) != len(e.Examples) {
		return nil, unexpected("regress", m, "no list of %d numbers", len(e.Examples))
	}
	return out, nil
}

// VersionStatus is the state of one version.
type VersionStatus struct {
	Version int64
	// State is START, LOADING, AVAILABLE, UNLOADING or END.
	State string
	// Code and Message say what went wrong; Code is OK if nothing did.
	Code, Message string
}

// Status returns the state of all versions of m, or of the one that m names.
func (c *Client) Status(ctx context.Context, m Model) ([]VersionStatus, error) {
	value, err := c.call(ctx, m, "", nil, "model_version_status")
	if err != nil {
		return nil, err
	}

	list, _ := value.([]any)
	out := make([]VersionStatus, len(list))
	for i, item := range list {
		object, _ := item.(map[string]any)
		status, _ := object["status"].(map[string]any)
		text, _ := object["version"].(string)
		version, err := strconv.ParseInt(text, 10, 64)
		state, ok := object["state"].(string)
		if err != nil || !ok {
			return nil, unexpected("status", m, "model_version_status[%d] lacks version or state", i)
		}
		out[i] = VersionStatus{Version: version, State: state}
		out[i].Code, _ = status["error_code"].(string)
		out[i].Message, _ = status["error_message"].(string)
	}

	return out, nil
}

// Metadata returns what goes into the model and what comes out: the members of
// GetModelMetadataResponse.
func (c *Client) Metadata(ctx context.Context, m Model) (map[string]any, error) {
	value, err := c.call(ctx, m, "metadata", nil, "")
	if err != nil {
		return nil, err
	}
	object, ok := value.(map[string]any)
	if !ok {
		return nil, unexpected("metadata", m, "no object")
	}
	return object, nil
}

// call asks, with GET if there is no body, and returns the member of the
// answer that has one of the keys; all of it for the key "".
func (c *Client) call(ctx context.Context, m Model, verb string, body map[string]any, keys ...string) (any, error) {
	op := verb
	if op == "" {
		op = "status"
	}

	path, err := m.path()
	if err != nil {
		return nil, fmt.Errorf("tfserving: %s: %w", op, err)
	}

	method, content := http.MethodGet, []byte(nil)
	switch {
	case body != nil:
		method, path = http.MethodPost, path+":"+verb
		if content, err = encode(body); err != nil {
			return nil, fmt.Errorf("tfserving: %s %s: %w", op, m.Name, err)
		}
	case verb != "":
		path += "/" + verb
	}

	// JoinPath would read the %2F of a name as a slash.
	address := strings.TrimSuffix(c.base.String(), "/") + "/" + path
	req, err := http.NewRequestWithContext(ctx, method, address, bytes.NewReader(content))
	if err != nil {
		return nil, fmt.Errorf("tfserving: %s %s: %w", op, m.Name, err)
	}
	if content != nil {
		req.Header.Set("Content-Type", "application/json")
	}

	res, err := c.http.Do(req)
	if err != nil {
		return nil, fmt.Errorf("tfserving: %s %s: %w", op, m.Name, err)
	}
	defer func() { _ = res.Body.Close() }()

	var reader io.Reader = res.Body
	if c.most > 0 {
		reader = io.LimitReader(res.Body, c.most+1)
	}
	text, err := io.ReadAll(reader)
	if err != nil {
		return nil, fmt.Errorf("tfserving: %s %s: %w", op, m.Name, err)
	}
	if c.most > 0 && int64(len(text)) > c.most {
		return nil, fmt.Errorf("tfserving: %s %s: the answer is larger than %d bytes: raise MaxBytes, or ask for less at a time", op, m.Name, c.most)
	}

	value, decodeErr := decode(text)
	object, _ := value.(map[string]any)
	if message, failed := object["error"].(string); failed || res.StatusCode/100 != 2 {
		return nil, &Error{Op: op, Model: m, Status: res.StatusCode, Message: message}
	}
	if decodeErr != nil {
		kind, _, _ := mime.ParseMediaType(res.Header.Get("Content-Type"))
		return nil, unexpected(op, m, "%v (content type %q)", decodeErr, kind)
	}

	for _, key := range keys {
		if key == "" {
			return value, nil
		}
		if v, ok := object[key]; ok {
			return v, nil
		}
	}
	return nil, unexpected(op, m, "the answer has no %q", keys[0])
}
