package graphql

// Requests returns the requests that documents are made into, without variables.
func Requests(docs []Source, types *Schema) ([][]byte, error) {
	operations, err := readDocuments(docs)
	if err != nil {
		return nil, err
	}
	var out [][]byte
	for _, op := range operations {
		act, err := compile("fuzz", op, types)
		if err != nil {
			return nil, err
		}
		act.variables = nil
		r, err := act.body(nil)
		if err != nil {
			return nil, err
		}
		out = append(out, r)
	}
	return out, nil
}
