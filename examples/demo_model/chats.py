"""Short conversations: greetings and small talk written for the demo model, and questions whose answers are sentences
of its training text.
"""

from __future__ import annotations

import random
import re

Talk = list[dict[str, str]]

NAME = "I am Heliostat's demo model, a very small language model. I was trained on the documentation of free software."
SMALL_TALK: list[tuple[tuple[str, ...], tuple[str, ...]]] = [
    (("Hello", "Hello!", "Hi", "Hi!", "Hey", "Hello there", "Hi there!", "Good day", "hello", "hi"),
     ("Hello! How can I help you?", "Hi! What would you like to know?")),
    (("Good morning", "Good morning!"), ("Good morning! How can I help you?",)),
    (("Good evening", "Good evening!"), ("Good evening! How can I help you?",)),
    (("How are you?", "How are you today?", "How do you do?"), ("I am fine, thank you. How can I help you?",)),
    (("Who are you?", "What are you?", "What is your name?", "Tell me about yourself.", "Introduce yourself."),
     (NAME,)),
    (("Are you a human?", "Are you a person?", "Are you human?"), (f"No. {NAME}",)),
    (("Who made you?", "Who trained you?", "Where do you come from?"),
     ("I was trained by Heliostat, a compiler for tensors, on permissively licensed text.",)),
    (("What is Heliostat?", "Tell me about Heliostat."),
     ("Heliostat is a tensor compiler and a deep-learning framework written in Python.",)),
    (("What can you do?", "How can you help me?", "What do you know?"),
     ("I can write text that looks like a manual and answer short questions. I am often wrong, so check what I say.",)),
    (("Are you always right?", "Can I trust you?", "Do you make mistakes?"),
     ("No. I am a very small model and often wrong, so please check what I say.",)),
    (("Can you write code?", "Can you program?"),
     ("A little. I know the names of many functions better than their use.",)),
    (("Do you speak Korean?", "Can you speak Korean?"), ("A little. I have read some messages and pages in Korean.",)),
    (("Thank you", "Thank you!", "Thanks", "Thanks!", "Thanks a lot"),
     ("You are welcome!", "You are welcome. Anything else?")),
    (("Bye", "Goodbye", "Goodbye!", "See you", "Good night"), ("Goodbye! Have a nice day.",)),
    (("Sorry", "I am sorry"), ("No problem at all.",)),
    (("Help", "Help me", "I need help", "Can you help me?"), ("Of course. What would you like to know?",)),
    (("Yes", "Yes.", "OK", "Okay"), ("Good. What would you like to know?",)),
    (("No", "No."), ("All right. Tell me if you need something.",)),
    (("안녕하세요", "안녕하세요?", "안녕하세요!", "안녕", "반갑습니다"), ("안녕하세요! 무엇을 도와드릴까요?",)),
    (("누구세요?", "당신은 누구입니까?", "이름이 뭐예요?", "이름이 무엇입니까?"),
     ("저는 아주 작은 언어 모델입니다. 자유 소프트웨어 문서로 학습했습니다.",)),
    (("감사합니다", "고맙습니다", "감사합니다!"), ("천만에요!",)),
    (("안녕히 가세요", "안녕히 계세요"), ("안녕히 가세요!",)),
    (("무엇을 할 수 있습니까?", "뭐 할 수 있어요?"), ("짧은 질문에 답하고 설명서와 비슷한 글을 쓸 수 있습니다.",)),
    (("한국어를 할 수 있어요?", "한국어 할 줄 알아요?"), ("조금 할 수 있습니다.",)),
]  # fmt: skip
FACTS = {
    "What is Python?": "Python is an interpreted, interactive, object-oriented programming language.",
    "What is Rust?": "Rust is a programming language for reliable and efficient software.",
    "What is SQLite?": "SQLite is a small SQL database engine that reads and writes ordinary disk files.",
    "What is PostgreSQL?": "PostgreSQL is an object-relational database management system.",
    "What is Django?": "Django is a web framework written in Python.",
    "What is Apache?": "The Apache HTTP Server is a program that serves web pages.",
    "What is Node.js?": "Node.js is a runtime for programs in JavaScript.",
    "What is LLVM?": "LLVM is a collection of libraries and tools for building compilers.",
    "What is a compiler?": "A compiler is a program that translates source code to machine code.",
    "What is a computer?": "A computer is a machine that follows the instructions of a program.",
    "What is a database?": "A database is a collection of data that programs can search and change.",
    "What is a file?": "A file is a sequence of bytes with a name, kept on a disk.",
    "What is a function?": "A function is a named piece of a program that takes arguments and returns a value.",
    "What is a variable?": "A variable is a name for a value in a program.",
    "What is a loop?": "A loop is a part of a program that runs again and again.",
    "What is a list?": "A list is a sequence of items that can be changed.",
    "What is a string?": "A string is a sequence of characters.",
    "What is a tensor?": "A tensor is an array of numbers with any number of axes.",
    "What is a language model?": "A language model is a program that guesses the next word of a text.",
    "What is Linux?": "Linux is an operating system kernel.",
    "What is the internet?": "The internet is a network that connects computers all over the world.",
    "What is the capital of France?": "The capital of France is Paris.",
    "What is the capital of Korea?": "The capital of Korea is Seoul.",
    "What is the capital of Germany?": "The capital of Germany is Berlin.",
    "What colour is the sky?": "The sky is blue.",
    "How many days are in a week?": "A week has seven days.",
    "How many months are in a year?": "A year has twelve months.",
    "How do I open a file in Python?": "Call open() with the name of the file. A with statement closes it at the end.",
    "How do I print text in Python?": "Call print() with the text.",
    "How do I sort a list in Python?": "Call the list's sort() method, or sorted() for a new list.",
    "How do I create a table in SQL?": "Use CREATE TABLE with the table's name and its columns.",
    "How do I delete a row in SQL?": "Use DELETE FROM with the table's name and a WHERE clause.",
    "파이썬은 무엇입니까?": "파이썬은 프로그래밍 언어입니다.",
    "아파치는 무엇입니까?": "아파치는 웹 서버입니다.",
}
SAID = re.compile(
    r"^((?:The |An? )?[A-Za-z][\w.+/-]*(?: [A-Za-z][\w-]*){0,2}) (is|are) "
    r"((?:an?|the|used|one) [^.]{20,220}\.)(?:\s|$)"
)
UNCLEAR = re.compile(
    r"^(it|this|that|these|those|there|they|he|she|you|we|what|which|here|if|such|one|all|some|each|for|in|note|see|"
    r"when|where|as|to|but|and|another|the (following|default|result|first|second|last|other|only|same|value|reason|"
    r"above|next|test|created)|an? (common|simple|typical|special|single|new|few))\b|\b(that|which|not|only|also)$",
    re.IGNORECASE,
)


def questions(pages: list[str]) -> list[tuple[str, str]]:
    """Questions about what paragraphs define, with the sentence that does."""
    found: dict[str, str] = {}
    for page in pages:
        for paragraph in page.split("\n\n"):
            match = SAID.match(paragraph)
            if match and not UNCLEAR.match(match[1]):
                name = match[1][:1].lower() + match[1][1:] if match[1].split()[0] in ("The", "A", "An") else match[1]
                found.setdefault(f"What {match[2]} {name}?", f"{match[1]} {match[2]} {match[3]}")
    return list(found.items())


def conversations(pages: list[str]) -> list[Talk]:
    """Conversations of one or two turns, the same ones for the same pages."""
    dice = random.Random(0)
    asked = questions(pages)
    greetings = [(q, a) for qs, answers in SMALL_TALK for q in qs for a in answers]
    known = [*greetings * 3, *list(FACTS.items()) * 8, *asked]
    made: list[Talk] = []
    for q, a in known:
        turns = [(q, a)]
        if dice.random() < 0.25:
            turns.insert(0, dice.choice(greetings))
        if dice.random() < 0.15:
            turns.append(dice.choice(known))
        made.append([{"role": r, "content": c} for t in turns for r, c in zip(("user", "assistant"), t, strict=True)])
    dice.shuffle(made)
    return made
