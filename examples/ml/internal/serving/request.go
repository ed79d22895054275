package serving

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"math"
	"net/http"

	"github.com/svcblocks/svcblocks/examples/ml/internal/model"
)

// predict answers :predict, rows or columns. With one input tensor and one
// output tensor both forms are the same list, and only the keys differ.
func predict(m *model.Model, body []byte) (any, error) {
	var request struct {
		Signature string          `json:"signature_name"`
		Instances json.RawMessage `json:"instances"`
		Inputs    json.RawMessage `json:"inputs"`
	}
	if err := decode(body, &request); err != nil {
		return nil, err
	}

	if s := request.Signature; s != "" && s != predictSignature {
		return nil, failf(http.StatusBadRequest, "Serving signature key %q not found: use %q or leave it out", s, predictSignature)
	}

	spec := m.Spec()
	switch {
	case request.Instances != nil && request.Inputs != nil:
		return nil, failf(http.StatusBadRequest, "the request has both instances and inputs: rows go into one, columns into the other")
	case request.Instances != nil:
		rows, err := instances(request.Instances, spec)
		if err != nil {
			return nil, err
		}
		p, err := ask(m, rows)
		if err != nil {
			return nil, err
		}
		return map[string]any{"predictions": p}, nil
	case request.Inputs != nil:
		var value any
		if err := decode(request.Inputs, &value); err != nil {
			return nil, err
		}
		value, err := named(value, "inputs")
		if err != nil {
			return nil, err
		}
		rows, err := tensor(value, spec, "inputs")
		if err != nil {
			return nil, err
		}
		p, err := ask(m, rows)
		if err != nil {
			return nil, err
		}
		return map[string]any{"outputs": p}, nil
	}

	return nil, failf(http.StatusBadRequest, "Missing 'inputs' or 'instances' key: send {\"instances\": [[…%d numbers…], …]}", len(spec.Features))
}

// instances reads rows: each a list, or an object with the input's name.
func instances(raw json.RawMessage, spec model.Spec) ([][]float32, error) {
	var value any
	if err := decode(raw, &value); err != nil {
		return nil, err
	}

	list, ok := value.([]any)
	if !ok {
		return nil, failf(http.StatusBadRequest, "instances is no list: send [[…%d numbers…], …]", len(spec.Features))
	}
	for i := range list {
		row, err := named(list[i], "instance")
		if err != nil {
			return nil, err
		}
		list[i] = row
	}
	return tensor(list, spec, "instances")
}

// named takes the one input out of an object; other values stay as they are.
func named(value any, where string) (any, error) {
	object, ok := value.(map[string]any)
	if !ok {
		return value, nil
	}
	inner, ok := object[inputName]
	if !ok || len(object) != 1 {
		return nil, failf(http.StatusBadRequest, "%s: the object must have the input %q and nothing else", where, inputName)
	}
	return inner, nil
}

// tensor reads rows of as many numbers as the model has features.
func tensor(value any, spec model.Spec, where string) ([][]float32, error) {
	list, ok := value.([]any)
	if !ok || len(list) == 0 {
		return nil, failf(http.StatusBadRequest, "%s is no list, or an empty one: send [[…%d numbers…], …]", where, len(spec.Features))
	}

	rows := make([][]float32, len(list))
	for i, item := range list {
		values, ok := item.([]any)
		if !ok {
			return nil, failf(http.StatusBadRequest, "%s[%d] is no list: a row has %d numbers", where, i, len(spec.Features))
		}
		if len(values) != len(spec.Features) {
			return nil, failf(http.StatusBadRequest, "%s[%d] has %d values: the model has %d features, see /metadata", where, i, len(values), len(spec.Features))
		}

		rows[i] = make([]float32, len(values))
		for j, v := range values {
			f, ok := number(v)
			if !ok {
				return nil, failf(http.StatusBadRequest, "%s[%d][%d] (%s) is no number that a 32-bit float can hold", where, i, j, spec.Features[j])
			}
			rows[i][j] = f
		}
	}
	return rows, nil
}

func number(v any) (float32, bool) {
	f, ok := v.(float64)
	return float32(f), ok && math.Abs(f) <= math.MaxFloat32
}

// classify answers :classify, whose examples name their features.
func classify(m *model.Model, body []byte) (any, error) {
	var request struct {
		Signature string           `json:"signature_name"`
		Context   map[string]any   `json:"context"`
		Examples  []map[string]any `json:"examples"`
	}
	if err := decode(body, &request); err != nil {
		return nil, err
	}
	if s := request.Signature; s != "" && s != classifySignature && s != predictSignature {
		return nil, failf(http.StatusBadRequest, "Serving signature key %q not found: use %q or leave it out", s, classifySignature)
	}
	if len(request.Examples) == 0 {
		return nil, failf(http.StatusBadRequest, "examples is missing or empty: send {\"examples\": [{\"feature\": value, …}, …]}")
	}

	spec := m.Spec()
	rows := make([][]float32, len(request.Examples))
	for i, example := range request.Examples {
		row := make([]float32, len(spec.Features))
		for j, name := range spec.Features {
			v, here := example[name]
			common, shared := request.Context[name]
			switch {
			case here && shared:
				return nil, failf(http.StatusBadRequest, "%q stands in context and in examples[%d]", name, i)
			case shared:
				v = common
			case !here:
				return nil, failf(http.StatusBadRequest, "examples[%d] lacks %q: the model has %d features, see /metadata", i, name, len(spec.Features))
			}

			if list, ok := v.([]any); ok && len(list) == 1 {
				v = list[0]
			}
			f, ok := number(v)
			if !ok {
				return nil, failf(http.StatusBadRequest, "examples[%d]: %q is no number that a 32-bit float can hold", i, name)
			}
			row[j] = f
		}

		if known := len(spec.Features); len(example)+len(request.Context) != known {
			return nil, failf(http.StatusBadRequest, "examples[%d] has %d features with the context's: the model has %d, see /metadata", i, len(example)+len(request.Context), known)
		}
		rows[i] = row
	}

	p, err := ask(m, rows)
	if err != nil {
		return nil, err
	}

	results := make([][][2]any, len(p))
	for i := range p {
		for j, class := range spec.Classes {
			results[i] = append(results[i], [2]any{class, p[i][j]})
		}
	}

	// The reference says "result", its example and the server say "results".
	return map[string]any{"results": results}, nil
}

// decode reads one JSON value and nothing behind it.
func decode(text []byte, into any) error {
	err := json.Unmarshal(text, into)
	if err == nil {
		return nil
	}
	if syntax, ok := errors.AsType[*json.SyntaxError](err); ok {
		at := text[max(0, min(int(syntax.Offset)-1, len(text))):]
		if bytes.HasPrefix(at, []byte("NaN")) || bytes.HasPrefix(at, []byte("Inf")) {
			return failf(http.StatusBadRequest, "JSON Parse error at offset %d: the model takes finite numbers alone", syntax.Offset)
		}
		return failf(http.StatusBadRequest, "JSON Parse error at offset %d: %v", syntax.Offset, syntax)
	}
	if wrong, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		return failf(http.StatusBadRequest, "JSON Value: %s is %s", cmp.Or(wrong.Field, "the request"), wrong.Value)
	}
	return failf(http.StatusBadRequest, "JSON Parse error: %v", err)
}
