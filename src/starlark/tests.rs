//! What programs compute, how they fail, and that no program exceeds its bounds.

use super::*;

/// Collects what a program prints.
#[derive(Default)]
struct Printer {
    printed: Vec<String>,
}

impl Host for Printer {
    const FUNCTIONS: &'static [&'static str] = &["print", "leave"];

    fn call(&mut self, name: &'static str, arguments: Arguments, heap: &mut Heap) -> Result<Value, Stop> {
        if name == "leave" {
            return Err(Stop::Host);
        }
        let texts = arguments.plain.iter().map(|value| display(value, heap)).collect::<Result<Vec<_>, _>>()?;
        self.printed.push(texts.join(" "));
        Ok(Value::None)
    }
}

const STEPS: u64 = 200_000;
const MEMORY: u64 = 8 << 20;

/// Runs blocks one after the other, which share variables. Returns what they print, and how the last one ends.
fn run(blocks: &[&str]) -> (Vec<String>, Result<(), Stop>) {
    let mut machine = Machine::new(Printer::default(), Meter::new(STEPS, MEMORY));
    let text = machine.heap.text("Größe: 12 €").expect("memory");
    machine.set("context", text);
    let mut ended = Ok(());
    for block in blocks {
        ended = parse(block).and_then(|program| machine.run(&program));
    }
    (std::mem::take(&mut machine.host.printed), ended)
}

/// What a program without mistakes prints.
fn printed(block: &str) -> Vec<String> {
    let (printed, ended) = run(&[block]);
    assert_eq!(ended, Ok(()), "{block}");
    printed
}

/// The message of a mistake and its line.
fn mistake(block: &str) -> (String, u32) {
    match run(&[block]).1 {
        Err(Stop::Error(error)) => (error.message, error.line.unwrap_or(0)),
        other => panic!("{block}: {other:?}"),
    }
}

fn limit(block: &str) -> Limit {
    match run(&[block]).1 {
        Err(Stop::Limit(limit)) => limit,
        other => panic!("{}: {other:?}", &block[..block.len().min(200)]),
    }
}

#[test]
fn expressions_have_the_values_of_python() {
    let cases = [
        ("1 + 2 * 3 - 4 // 3", "6"),
        ("-7 // 2, -7 % 3, 7 % -3, 7 / 2", "(-4, 2, -2, 3.5)"),
        ("2.5 // 1, -2.5 % 1", "(2.0, 0.5)"),
        ("1 << 4 | 3, 6 & 3, 6 ^ 3, ~5, 17 >> 2", "(19, 2, 5, -6, 4)"),
        ("'a' + 'b' * 3", "abbb"),
        ("[1, 2] + [3] * 2", "[1, 2, 3, 3]"),
        ("(1,) + (2,)", "(1, 2)"),
        ("not True or 1 and 'x'", "x"),
        ("3 if [] else 4", "4"),
        ("1 == 1.0, 'a' < 'b', [1, 2] < [1, 3], (1, 'a') == (1, 'a'), 1 == True", "(True, True, True, True, False)"),
        ("2 in [1, 2], 'x' not in 'axb', 'k' in {'k': 1}, 4 in range(0, 10, 2)", "(True, False, True, True)"),
        ("'hello'[1:3], 'hello'[::-1], 'hello'[-2:], [1, 2, 3][5:]", "(\"el\", \"olleh\", \"lo\", [])"),
        ("[1, 2, 3, 4][::2], [1, 2, 3][-1], (1, 2)[0], [0, 1, 2, 3][3:0:-2]", "([1, 3], 3, 1, [3, 1])"),
        ("[x * y for x in range(3) if x for y in [10, 20]]", "[10, 20, 20, 40]"),
        ("{k: v for k, v in [('a', 1), ('b', 2)]}", "{\"a\": 1, \"b\": 2}"),
        ("len(context), context[7:9], context.find('€'), context.upper()", "(11, \"12\", 10, \"GRÖSSE: 12 €\")"),
        (
            "sorted([3, 1, 2], reverse = True), sorted(['b', 'A'], key = lambda s: s.lower())",
            "([3, 2, 1], [\"A\", \"b\"])",
        ),
        ("min(3, 1), max([1, 4]), sum([1, 2.5]), abs(-3)", "(1, 4, 3.5, 3)"),
        ("list(zip([1, 2], 'a b'.split())), list(enumerate(['x'], 1))", "([(1, \"a\"), (2, \"b\")], [(1, \"x\")])"),
        (
            "int('12') + int(3.9), int('ff', 16), float('1.5'), str(1.0), str(1e20)",
            "(15, 255, 1.5, \"1.0\", \"1e+20\")",
        ),
        (
            "'a,b,,c'.split(','), ' x y '.split(), 'a-b-c'.rsplit('-', 1)",
            "([\"a\", \"b\", \"\", \"c\"], [\"x\", \"y\"], [\"a-b\", \"c\"])",
        ),
        ("'%s has %d of %.1f%%' % ('x', 3, 2.55)", "x has 3 of 2.5%"),
        ("'{} {1} {n:>4}|{:.2f}'.format('a', 2, n = 7)", "a 2    7|2.00"),
        ("f\"{context[:5]}: {len(context):04d} {1 / 3:.2f} {'a' + 'b'} {{}} {'q'!r}\"", "Größe: 0011 0.33 ab {} \"q\""),
        ("'a' 'b'", "ab"),
        (
            "json.decode('{\"a\": [1, null, 2.5]}')['a'], json.encode({'k': (1, None)})",
            "([1, None, 2.5], \"{\\\"k\\\":[1,null]}\")",
        ),
        ("json.decode('not json', None)", "None"),
        (
            "'x'.join(['1', '2']), 'abcabc'.replace('b', ''), 'abcabc'.count('bc'), ' a '.strip()",
            "(\"1x2\", \"acac\", 2, \"a\")",
        ),
        (
            "'a=b=c'.partition('='), 'title case'.title(), 'ab'.elems(), 'ab'.startswith(('x', 'a'))",
            "((\"a\", \"=\", \"b=c\"), \"Title Case\", [\"a\", \"b\"], True)",
        ),
        (
            "type(1), type(''), type(None), type([]), bool(''), None is None, 1 is not None",
            "(\"int\", \"string\", \"NoneType\", \"list\", False, True, True)",
        ),
        ("f'{1234567:,}', round(2.5), round(2.345, 1), -5 + +3", "(\"1,234,567\", 2, 2.3, -2)"),
    ];
    for (code, expected) in cases {
        // One value, or a tuple of several.
        assert_eq!(printed(&format!("x = {code}\nprint(x)")), [expected], "{code}");
    }
}

#[test]
fn statements_share_variables_between_blocks() {
    let first = "def total(values, start = 0, *more, **named):\n    sum = start\n    for v in values:\n        if v < 0: continue\n        sum += v\n    return sum + len(more) + named.get('n', 0)\nfound = {}\n";
    let second = "for word in 'a b a'.split():\n    found[word] = found.get(word, 0) + 1\nprint(found, total([1, -5, 2]), total([1], 1, 9, n = 5))";
    let third = "x, (y, z) = 1, (2, 3)\nrows = [[0] * 2]\nrows[0][1] += 5\nrows += [[z]]\nfor i in range(10):\n    if i == 3:\n        break\nelse_ = i\nprint(x, y, z, rows, else_)";
    let (printed, ended) = run(&[first, second, third]);
    assert_eq!(ended, Ok(()));
    assert_eq!(printed, ["{\"a\": 2, \"b\": 1} 3 8", "1 2 3 [[0, 5], [3]] 3"]);
    // What a block has assigned before its mistake is kept.
    let (printed, ended) = run(&["a = 1\nb = missing", "print(a)"]);
    assert_eq!((printed, ended), (vec!["1".to_owned()], Ok(())));
}

#[test]
fn functions_see_the_variables_around_them() {
    let code = "k = 2\ndef outer(n):\n    def inner(m):\n        return m * k + n\n    return inner\nf = outer(1)\nk = 3\nadders = [lambda x, i = i: x + i for i in range(3)]\nprint(f(10), [add(10) for add in adders])";
    assert_eq!(printed(code), ["31 [10, 11, 12]"]);
    assert_eq!(
        mistake("x = 1\ndef f():\n    y = x\n    x = 2\nf()").0,
        "the variable `x` is used before it has a value"
    );
    assert_eq!(
        mistake("def f(n):\n    return f(n - 1)\nf(3)").0,
        "the function `f` calls itself, which is not allowed; use a loop"
    );
}

#[test]
fn a_mistake_names_its_line_and_what_to_write() {
    for (code, line, message) in [
        ("x = 1\nprint(y)", 2, "there is no variable or function `y`"),
        ("while True:\n    pass", 1, "`while`: there is no `while`; use `for` over `range(n)` with `break`"),
        ("\nimport os", 2, "`import`: there are no modules; use the functions that are listed"),
        ("try:\n    pass", 1, "`try`: there are no exceptions; test what may be missing with `if`"),
        ("if True\n    pass", 1, "`:` is expected before the end of the line"),
        ("print('a' + 1)", 1, "`+` does not work on string and int; make a text with str()"),
        ("for c in 'abc': pass", 1, "a text is not a list; its characters are `text.elems()`"),
        ("a = [1]\nfor x in a:\n    a.append(x)", 3, "a list or dict can't change while a loop goes over it"),
        ("print(1 < 2 < 3)", 1, "comparisons can't be chained; write `a < b and b < c`"),
        ("{}['x']", 1, "the dict has no such key; use `get` if it may be missing"),
        ("[1][3]", 1, "the index 3 is out of range: there are 1 items"),
        ("1 // 0", 1, "division by zero"),
        ("9223372036854775807 + 1", 1, "the result of `9223372036854775807 + 1` exceeds 64 bits"),
        ("{[1]: 2}", 1, "a list can't be a key of a dict"),
        ("x = (1", 1, "`(` is not closed"),
        ("print(f'{')", 1, "a `{` in an f-string is not closed"),
        ("fail('no ' + 'luck')", 1, "fail: no luck"),
        ("sorted([1, 'a'])", 1, "values of the types int and string have no order"),
    ] {
        let (found, at) = mistake(code);
        assert_eq!((found.as_str(), at), (message, line), "{code}");
    }
}

#[test]
fn no_program_exceeds_its_bounds() {
    for code in [
        "'a' * 10000000000",
        "('a' * 1000000) * 9000000000000000000",
        "[0] * 9000000000000000000",
        "list(range(1000000000))",
        "x = 'ab'\nfor i in range(60):\n    x += x",
        "x = [0]\nfor i in range(60):\n    x = x + x",
        "x = [0]\nfor i in range(60):\n    x += x",
        "x = 'a' * 1000000\ny = x.replace('a', x)",
        "x = ('a' * 1000 + ',') * 2000\ny = x.join(x.split(','))",
        "x = '%s' * 100\nfor i in range(20):\n    x = x % tuple([x] * x.count('%s'))",
        "x = '{0}{0}'\nfor i in range(60):\n    x = x.format(x) + '{0}{0}'",
        "x = []\nfor i in range(60):\n    x = [x, x]\nprint(x)",
        "x = {}\nfor i in range(60):\n    x = {'a': x, 'b': x}\njson.encode(x)",
        "x = 'a' * 400000\ny = [x[1:] for i in range(100)]",
        "[[0 for i in range(2000)] for j in range(2000)]",
        "json.decode('[' + '0,' * 1000000 + '0]')",
        "f\"{'a' * 900000:>1000}\" * 9",
        "x = ('a' * 100000).elems()",
    ] {
        let (_, ended) = run(&[code]);
        // A bound of the nesting is a mistake of the program.
        let nested = matches!(&ended, Err(Stop::Error(error)) if error.message.contains("nested"));
        assert!(
            ended == Err(Stop::Limit(Limit::Memory)) || ended == Err(Stop::Limit(Limit::Steps)) || nested,
            "{code}: {ended:?}"
        );
    }
    assert_eq!(limit("for i in range(9000000000000000000): pass"), Limit::Steps);
    assert_eq!(limit("for a in range(1000):\n    for b in range(1000):\n        pass"), Limit::Steps);
    assert_eq!(limit("[0 for a in range(100000) for b in range(100000) if False]"), Limit::Steps);
    assert_eq!(limit("x = list(range(10000))\nfor i in range(10000):\n    y = 5000000 in x"), Limit::Steps);
    assert_eq!(limit("x = 'a' * 1000000\nfor i in range(100000):\n    y = x.find('b')"), Limit::Steps);
    assert_eq!(limit("'a' * 10000000000"), Limit::Memory);
}

#[test]
fn deep_code_and_deep_values_are_mistakes_and_not_crashes() {
    let nested =
        |open: &str, middle: &str, close: &str| format!("{}{middle}{}", open.repeat(20000), close.repeat(20000));
    let sources = [
        nested("(", "1", ")"),
        nested("[", "", "]"),
        nested("{1:", "1", "}"),
        format!("x = {}1", "not ".repeat(15000)),
        format!("x = {}1", "-".repeat(15000)),
        format!("x = 1{}", " + 1".repeat(15000)),
        format!("x = 1{}", " or 0".repeat(12000)),
        format!("x = 1{}", " if 1 else 1".repeat(5000)),
        format!("x = 1{}", "[0]".repeat(20000)),
        format!("x = 1{}", "()".repeat(20000)),
        format!("x = {}1", "lambda: ".repeat(7000)),
        format!("x = [1 {}]", "for i in [1] ".repeat(4000)),
        (0..300).map(|depth| format!("{}if 1:\n", " ".repeat(depth))).collect::<String>() + &" ".repeat(300) + "pass",
        format!("x = {}1{}", "f'{".repeat(9000), "}'".repeat(9000)),
    ];
    for source in sources {
        let (message, _) = mistake(&source[..source.len().min(65000)]);
        assert!(!message.is_empty(), "{message}");
    }
    // Values that are nested deeper than a stack is deep are made and freed.
    for code in [
        "x = []\nfor i in range(20000):\n    x = [x]",
        "x = ()\nfor i in range(20000):\n    x = (x,)",
        "x = {}\nfor i in range(20000):\n    x = {'a': x}",
        "x = None\nfor i in range(8000):\n    x = lambda y = x: y",
        "x = []\nx.append(x)\ny = {}\ny['y'] = y",
    ] {
        assert_eq!(run(&[code]).1, Ok(()), "{code}");
    }
    for code in ["x = []\nfor i in range(2000):\n    x = [x]\nprint(x)", "x = []\nx.append(x)\nprint(x == [x])"] {
        assert!(mistake(code).0.contains("nested"), "{code}");
    }
    // Each function calls the next one.
    let chain: String = (1..300).map(|i| format!("def f{i}():\n    return f{}()\n", i - 1)).collect();
    let (message, _) = mistake(&format!("def f0():\n    return 1\n{chain}f299()"));
    assert!(message.contains("nested deeper"), "{message}");
    assert!(mistake(&" ".repeat(70000)).0.contains("at most 65536"), "a long program");
}

#[test]
fn the_host_can_end_a_program() {
    assert_eq!(run(&["print(1)\nleave()\nprint(2)"]), (vec!["1".to_owned()], Err(Stop::Host)));
}

#[test]
fn a_failed_call_is_false_and_says_so_where_it_is_used() {
    let mut machine = Machine::new(Printer::default(), Meter::new(STEPS, MEMORY));
    let failed = machine.heap.failed("timeout", "no answer came").expect("memory");
    machine.set("answer", failed);
    let ask = |machine: &mut Machine<Printer>, code: &str| parse(code).and_then(|program| machine.run(&program));
    let code = "print(is_error(answer), not answer, answer.kind, answer.message, answer, is_error('error'))";
    assert_eq!(ask(&mut machine, code), Ok(()));
    assert_eq!(machine.host.printed, ["True True timeout no answer came error(\"timeout\", \"no answer came\") False"]);
    for code in [
        "answer + 'x'",
        "answer.strip()",
        "'x'.join([answer])",
        "len(answer)",
        "int(answer)",
        "answer[0]",
        "answer in 'x'",
    ] {
        assert!(matches!(ask(&mut machine, code), Err(Stop::Error(_))), "{code}");
    }
}
